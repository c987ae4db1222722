"""One block of the trunk over tokens in a `TokenOrder`, in the arithmetic of `MultiScaleBlock`."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.model.block import MultiScaleBlock
from pipeline.model.packed_attention import attend_windows, pool_cells
from pipeline.model.packed_linear import PackedLinear
from pipeline.model.token_order import Windows

# Tokens that go through an MLP at a time: their hidden values, four times as wide, then stay in the cache.
_MLP_ROWS = 4096


class PackedBlock:
    """A block whose weights are packed; the block itself is not changed.

    Args:
        block: from the trunk.
        dtype: what to compute in.
    """

    def __init__(self, block: MultiScaleBlock, dtype: torch.dtype) -> None:
        attention = block.attn
        dim_out = attention.proj.in_features
        self.window = block.window
        self.is_pooling = block.q_stride is not None
        self._num_heads = attention.num_heads
        scale = torch.ones(3 * dim_out)
        scale[:dim_out] = (dim_out // attention.num_heads) ** -0.5
        self._qkv = PackedLinear.of(attention.qkv, dtype, scale=scale)
        self._merge = PackedLinear.of(attention.proj, dtype)
        self._shortcut = None if block.proj is None else PackedLinear.of(block.proj, dtype)
        self._widen, self._narrow = (PackedLinear.of(cast("nn.Linear", layer), dtype) for layer in block.mlp.layers)
        self._norm1, self._norm2 = _PackedNorm(block.norm1, dtype), _PackedNorm(block.norm2, dtype)

    def __call__(self, tokens_NC: Tensor, windows: list[Windows]) -> Tensor:
        """Transform the tokens of some windows, which `windows` lists: (N, dim) to (N or N / 4, dim_out)."""
        normed_NC = self._norm1(tokens_NC)
        shortcut_NC = tokens_NC
        if self._shortcut is not None:
            shortcut_NC = self._shortcut(normed_NC)
            if self.is_pooling:
                shortcut_NC = pool_cells(shortcut_NC)
        mixed_NC = self._merge.plus(self._attend(normed_NC, windows), shortcut_NC)
        if len(mixed_NC) <= _MLP_ROWS:
            return self._transform(mixed_NC)
        return torch.cat([self._transform(rows_NC) for rows_NC in torch.split(mixed_NC, _MLP_ROWS)])

    def _attend(self, normed_NC: Tensor, windows: list[Windows]) -> Tensor:
        qkv_NC = self._qkv(normed_NC)
        parts = torch.split(qkv_NC, [each.num_tokens for each in windows])
        attended = [
            attend_windows(
                part_NC,
                each,
                num_heads=self._num_heads,
                padding_C=self._qkv.bias,
                num_padded=self.window**2 - each.height * each.width if self.window else 0,
                is_pooling=self.is_pooling,
            )
            for part_NC, each in zip(parts, windows, strict=True)
        ]
        return attended[0] if len(attended) == 1 else torch.cat(attended)

    def _transform(self, mixed_NC: Tensor) -> Tensor:
        return self._narrow.plus(self._widen.gelu(self._norm2(mixed_NC)), mixed_NC)


class _PackedNorm:
    """A layer norm in another dtype."""

    def __init__(self, norm: nn.LayerNorm, dtype: torch.dtype) -> None:
        self._shape, self._eps = norm.normalized_shape, norm.eps
        self._weight, self._bias = norm.weight.to(dtype), norm.bias.to(dtype)

    def __call__(self, tokens_NC: Tensor) -> Tensor:
        return functional.layer_norm(tokens_NC, self._shape, self._weight, self._bias, self._eps)

"""One transformer block of the trunk: windowed attention and an MLP, each beside a shortcut.

Where the width changes, the shortcut is projected from the normalised tokens at full resolution and pooled
afterwards, as in SAM 2; max-pooling and a projection do not commute.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.model.attention import MultiScaleAttention, pool_tokens
from pipeline.model.windows import join_windows, partition_windows

NORM_EPS = 1e-6
MLP_RATIO = 4


@dataclass(frozen=True)
class BlockShape:
    """What distinguishes one block of a trunk from another.

    Attributes:
        dim: channels that come in.
        dim_out: channels that go out.
        num_heads: attention heads.
        window: side of the attention windows in tokens; 0 means global attention.
        q_stride: (down, across) pooling of queries and shortcut; None for no pooling.
        drop_path: probability of dropping a residual branch while training.
    """

    dim: int
    dim_out: int
    num_heads: int
    window: int
    q_stride: tuple[int, int] | None = None
    drop_path: float = 0.0


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them, (..., C) to (..., C).

    Source: sam2/modeling/sam2_utils.py, MLP.
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(dim, hidden_dim), nn.Linear(hidden_dim, dim)])

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform every token by itself."""
        merged: Tensor = self.layers[1](functional.gelu(self.layers[0](tokens)))
        return merged


class DropPath(nn.Module):
    """Drops a whole residual branch per image, while training only, and rescales what stays."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, branch: Tensor) -> Tensor:
        """Return the branch as it is, unless training."""
        if not self.training or self.probability == 0.0:
            return branch
        keep = 1.0 - self.probability
        mask = torch.empty((branch.shape[0], *[1] * (branch.ndim - 1)), dtype=branch.dtype, device=branch.device)
        return branch * mask.bernoulli_(keep).div_(keep)


class MultiScaleBlock(nn.Module):
    """Attention and MLP with shortcuts over a token grid.

    Source: sam2/modeling/backbones/hieradet.py, MultiScaleBlock.

    Args:
        shape: widths, heads, window and pooling.

    Raises:
        ValueError: the block is both global and pooling, or pools without a change of width.
    """

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        if shape.q_stride is not None and shape.window == 0:
            raise ValueError(
                "a block cannot be both global and pooling; take the first blocks of stages out of "
                "global_att_blocks, or lower q_pool"
            )
        if shape.q_stride is not None and shape.dim == shape.dim_out:
            raise ValueError(f"a block that pools must change its width, but stays at {shape.dim}; raise dim_mul")
        self.window = shape.window
        self.q_stride = shape.q_stride
        self.norm1 = nn.LayerNorm(shape.dim, eps=NORM_EPS)
        self.attn = MultiScaleAttention(shape.dim, shape.dim_out, shape.num_heads, q_stride=shape.q_stride)
        self.drop_path = DropPath(shape.drop_path) if shape.drop_path > 0.0 else nn.Identity()
        self.norm2 = nn.LayerNorm(shape.dim_out, eps=NORM_EPS)
        self.mlp = Mlp(shape.dim_out, MLP_RATIO * shape.dim_out)
        self.proj = nn.Linear(shape.dim, shape.dim_out) if shape.dim != shape.dim_out else None

    def forward(self, tokens_BHWC: Tensor) -> Tensor:
        """Transform a grid: (B, H, W, dim) to (B, H', W', dim_out), halved where the block pools."""
        normed_BHWC = self.norm1(tokens_BHWC)
        shortcut_BHWC = tokens_BHWC
        if self.proj is not None:
            shortcut_BHWC = self.proj(normed_BHWC)
            if self.q_stride is not None:
                shortcut_BHWC = pool_tokens(shortcut_BHWC, self.q_stride)
        height, width = shortcut_BHWC.shape[1:3]
        if self.window == 0:
            attended_BHWC = self.attn(normed_BHWC)
        else:
            windows_NHWC, grid = partition_windows(normed_BHWC, self.window)
            attended_BHWC = join_windows(self.attn(windows_NHWC), grid, (height, width))
        mixed_BHWC = shortcut_BHWC + self.drop_path(attended_BHWC)
        transformed: Tensor = mixed_BHWC + self.drop_path(self.mlp(self.norm2(mixed_BHWC)))
        return transformed

"""Multi-scale attention over a grid of tokens, which may pool its queries on the way.

Tokens stay in (N, H, W, C) throughout; every change of layout here is a view, apart from the pooling.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

# CUDA attention kernels put the batch into a grid dimension of 16 bits:
# https://github.com/pytorch/pytorch/issues/142228
MAX_CUDA_BATCH = 65535


def pool_tokens(tokens_NHWC: Tensor, stride: tuple[int, int]) -> Tensor:
    """Max-pool a token grid without overlap: (N, H, W, C) to (N, H // stride[0], W // stride[1], C)."""
    return functional.max_pool2d(tokens_NHWC.permute(0, 3, 1, 2), stride, stride).permute(0, 2, 3, 1)


def attend(q: Tensor, k: Tensor, v: Tensor, *, max_batch: int | None = None) -> Tensor:
    """Scaled dot-product attention, in pieces along the batch where it cannot be taken whole.

    Args:
        q: queries, (N, heads, Lq, head_dim).
        k: keys, (N, heads, Lk, head_dim).
        v: values, as `k`.
        max_batch: longest batch of a piece; None for what the device takes.

    Returns:
        (N, heads, Lq, head_dim).
    """
    if max_batch is None:
        max_batch = MAX_CUDA_BATCH if q.is_cuda else q.shape[0]
    if q.shape[0] <= max_batch:
        return functional.scaled_dot_product_attention(q, k, v)
    pieces = zip(*(torch.split(part, max_batch) for part in (q, k, v)), strict=True)
    return torch.cat([functional.scaled_dot_product_attention(*piece) for piece in pieces])


class MultiScaleAttention(nn.Module):
    """Self-attention over windows, with queries max-pooled where `q_stride` is given.

    Source: sam2/modeling/backbones/hieradet.py, MultiScaleAttention.

    Args:
        dim: channels of the tokens that come in.
        dim_out: channels of the tokens that go out; `num_heads` must divide it.
        num_heads: attention heads.
        q_stride: (down, across) pooling of the queries; None keeps the grid as it is.

    Raises:
        ValueError: `num_heads` does not divide `dim_out`.
    """

    def __init__(self, dim: int, dim_out: int, num_heads: int, *, q_stride: tuple[int, int] | None = None) -> None:
        super().__init__()
        if num_heads < 1 or dim_out % num_heads:
            raise ValueError(f"num_heads={num_heads} does not divide {dim_out} channels; change num_heads or embed_dim")
        self.num_heads = num_heads
        self.q_stride = q_stride
        self.qkv = nn.Linear(dim, 3 * dim_out)
        self.proj = nn.Linear(dim_out, dim_out)

    def forward(self, tokens_NHWC: Tensor) -> Tensor:
        """Attend within every window: (N, H, W, dim) to (N, H', W', dim_out)."""
        num_windows, height, width, _ = tokens_NHWC.shape
        qkv = self.qkv(tokens_NHWC).reshape(num_windows, height * width, 3, self.num_heads, -1)
        q, k, v = qkv.unbind(2)
        if self.q_stride is not None:
            pooled_NHWC = pool_tokens(q.reshape(num_windows, height, width, -1), self.q_stride)
            height, width = pooled_NHWC.shape[1:3]
            q = pooled_NHWC.reshape(num_windows, height * width, self.num_heads, -1)
        attended = attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        merged: Tensor = self.proj(attended.transpose(1, 2).reshape(num_windows, height, width, -1))
        return merged

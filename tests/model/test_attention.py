"""Attention against a reference written with loops and an explicit softmax."""

import pytest
import torch
from torch import Tensor

from pipeline.model.attention import MultiScaleAttention, attend, pool_tokens


def reference_attention(module: MultiScaleAttention, tokens_HWC: Tensor) -> Tensor:
    """One window through the module's weights, head by head."""
    height, width, _ = tokens_HWC.shape
    q, k, v = (tokens_HWC @ module.qkv.weight.T + module.qkv.bias).chunk(3, dim=-1)
    if module.q_stride is not None:
        q = torch.stack(
            [
                torch.stack([q[y : y + 2, x : x + 2].amax(dim=(0, 1)) for x in range(0, width - 1, 2)])
                for y in range(0, height - 1, 2)
            ]
        )
    out_height, out_width, dim_out = q.shape
    head_dim = dim_out // module.num_heads
    heads = []
    for head in range(module.num_heads):
        part = slice(head * head_dim, (head + 1) * head_dim)
        scores = q[..., part].reshape(-1, head_dim) @ k[..., part].reshape(-1, head_dim).T / head_dim**0.5
        heads.append(scores.softmax(dim=-1) @ v[..., part].reshape(-1, head_dim))
    merged = torch.cat(heads, dim=-1) @ module.proj.weight.T + module.proj.bias
    return merged.reshape(out_height, out_width, dim_out)


@pytest.mark.parametrize("q_stride", [None, (2, 2)])
@pytest.mark.parametrize("num_heads", [1, 4])
def test_attention_equals_the_reference(q_stride: tuple[int, int] | None, num_heads: int):
    torch.manual_seed(0)
    module = MultiScaleAttention(6, 8, num_heads, q_stride=q_stride)
    tokens_NHWC = torch.randn(3, 4, 6, 6)
    with torch.no_grad():
        actual = module(tokens_NHWC)
        expected = torch.stack([reference_attention(module, tokens) for tokens in tokens_NHWC])
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_pooling_takes_the_greatest_of_every_square_and_drops_odd_edges():
    tokens_NHWC = torch.randn(2, 5, 4, 3)
    pooled_NHWC = pool_tokens(tokens_NHWC, (2, 2))
    assert pooled_NHWC.shape == (2, 2, 2, 3)
    assert torch.equal(pooled_NHWC[:, 1, 0], tokens_NHWC[:, 2:4, 0:2].amax(dim=(1, 2)))


def test_heads_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match="num_heads=3 does not divide 8 channels"):
        MultiScaleAttention(8, 8, 3)


@pytest.mark.parametrize("max_batch", [1, 3, 7])
def test_attending_in_pieces_changes_nothing(max_batch: int):
    q, k, v = torch.randn(3, 7, 2, 4, 8)
    torch.testing.assert_close(attend(q[:, :, :2], k, v, max_batch=max_batch), attend(q[:, :, :2], k, v))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_beyond_the_cuda_limit_are_attended_in_pieces():
    q, k, v = torch.randn(3, 70_000, 1, 4, 16)
    actual = attend(q.cuda(), k.cuda(), v.cuda()).cpu()
    torch.testing.assert_close(actual, attend(q, k, v), rtol=1e-4, atol=1e-4)

"""Packed attention equals scaled dot-product attention: few keys and many, padded, pooled."""

import pytest
import torch
from torch.nn import functional

from pipeline.model.packed_attention import attend_windows, pool_cells
from pipeline.model.token_order import Windows

HEADS, HEAD_DIM = 2, 8
WIDTH = HEADS * HEAD_DIM


def expected(qkv_NC: torch.Tensor, windows: Windows, padding_C: torch.Tensor, num_padded: int, pools: bool):
    """Window by window, with the padded tokens put in one by one."""
    rows = []
    for window in qkv_NC.split(windows.height * windows.width):
        q, k, v = window.split(WIDTH, dim=1)
        if pools:
            q = torch.stack([four.max(0).values for four in q.split(4)])
        k = torch.cat([k, *[padding_C[None, WIDTH : 2 * WIDTH]] * num_padded])
        v = torch.cat([v, *[padding_C[None, 2 * WIDTH :]] * num_padded])
        heads = [part.unflatten(1, (HEADS, HEAD_DIM)).transpose(0, 1) for part in (q, k, v)]
        rows.append(functional.scaled_dot_product_attention(*heads, scale=1.0).transpose(0, 1).flatten(1))
    return torch.cat(rows)


@pytest.mark.parametrize("windows", [Windows(3, 4, 4), Windows(2, 4, 2), Windows(1, 32, 40)], ids=str)
@pytest.mark.parametrize("num_padded", [0, 5])
@pytest.mark.parametrize("pools", [False, True])
def test_it_equals_torchs_own_attention(windows: Windows, num_padded: int, pools: bool):
    torch.manual_seed(0)
    qkv_NC, padding_C = torch.randn(windows.num_tokens, 3 * WIDTH), torch.randn(3 * WIDTH)
    actual = attend_windows(
        qkv_NC, windows, num_heads=HEADS, padding_C=padding_C, num_padded=num_padded, is_pooling=pools
    )
    wanted = expected(qkv_NC, windows, padding_C, num_padded, pools)
    torch.testing.assert_close(actual, wanted, rtol=1e-5, atol=1e-5)


def test_pooling_takes_the_greatest_of_four_neighbours_by_channel():
    rows = torch.tensor(
        [[1.0, 8.0], [2.0, 7.0], [3.0, 6.0], [4.0, 5.0], [-1.0, -2.0], [-3.0, -4.0], [-5.0, 0.0], [-6.0, -7.0]]
    )
    assert pool_cells(rows).tolist() == [[4.0, 8.0], [-1.0, 0.0]]

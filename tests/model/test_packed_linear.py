"""Packed linear layers give what torch's own give, alone and with what follows them."""

import platform

import pytest
import torch
from torch import nn
from torch.nn import functional

from pipeline.model.packed_linear import PackedLinear, can_pack

DTYPES = [dtype for dtype in (torch.float32, torch.bfloat16) if can_pack(dtype)]
# What rounding the weights, the inputs and the output makes of numbers around 1.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 3e-2}


def layer_and_rows() -> tuple[nn.Linear, torch.Tensor]:
    torch.manual_seed(0)
    return nn.Linear(48, 80).requires_grad_(requires_grad=False), torch.randn(37, 48)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="packing is for x86")
def test_the_pinned_torch_has_the_operators():
    assert can_pack(torch.float32), "torch's private operators have changed: the encoder would be slow"


def test_other_dtypes_are_not_packed():
    assert not can_pack(torch.float16)
    assert not can_pack(torch.float64)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_it_gives_what_the_layer_gives(dtype: torch.dtype):
    layer, rows = layer_and_rows()
    packed, tolerance = PackedLinear.of(layer, dtype), TOLERANCE[dtype]
    other = torch.randn(37, 80)
    for actual, expected in (
        (packed(rows.to(dtype)), layer(rows)),
        (packed.gelu(rows.to(dtype)), functional.gelu(layer(rows), approximate="none")),
        (packed.plus(rows.to(dtype), other.to(dtype)), layer(rows) + other),
    ):
        assert actual.dtype == dtype
        torch.testing.assert_close(actual.float(), expected, rtol=tolerance, atol=tolerance)


def test_a_scale_multiplies_each_output():
    layer, rows = layer_and_rows()
    scale = torch.linspace(0.5, 2, 80)
    torch.testing.assert_close(PackedLinear.of(layer, torch.float32, scale=scale)(rows), layer(rows) * scale)


def test_without_a_bias_it_is_the_product_alone():
    _, rows = layer_and_rows()
    weight = torch.randn(80, 48)
    torch.testing.assert_close(PackedLinear(weight, None, torch.float32)(rows), rows @ weight.T, rtol=1e-5, atol=1e-5)


def test_a_pointwise_convolution_is_a_linear_layer_over_cells():
    torch.manual_seed(1)
    convolution = nn.Conv2d(48, 80, 1).requires_grad_(requires_grad=False)
    map_BCHW = torch.randn(1, 48, 5, 7)
    expected = convolution(map_BCHW)[0].flatten(1).T
    packed = PackedLinear.of(convolution, torch.float32)
    torch.testing.assert_close(packed(map_BCHW[0].flatten(1).T.contiguous()), expected, rtol=1e-5, atol=1e-5)

"""The neck against a reference that spells out every level."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.model.fpn import FpnNeck
from pipeline.model.position_encoding import PositionEmbeddingSine

CHANNELS = [32, 16, 8, 4]


def neck(**changes: Any) -> FpnNeck:
    torch.manual_seed(0)
    return FpnNeck(PositionEmbeddingSine(6), 6, CHANNELS, **changes).eval()


def trunk_maps(side: int = 32) -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(2, channels, side >> i, side >> i) for i, channels in enumerate(reversed(CHANNELS))]


def laterals(module: FpnNeck, maps: list[Tensor], **convolution: int) -> list[Tensor]:
    convs = [module.convs[3 - level].conv for level in range(4)]
    return [functional.conv2d(m, conv.weight, conv.bias, **convolution) for m, conv in zip(maps, convs, strict=True)]


@torch.no_grad()
@pytest.mark.parametrize("fuse_type", ["sum", "avg"])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_every_level_adds_the_fused_coarser_one_upsampled(fuse_type: str, mode: str):
    module = neck(fuse_type=fuse_type, fpn_interp_model=mode)
    maps = trunk_maps()
    align = None if mode == "nearest" else False
    expected = laterals(module, maps)
    for level in (2, 1, 0):
        upsampled = functional.interpolate(expected[level + 1], scale_factor=2.0, mode=mode, align_corners=align)
        expected[level] = (expected[level] + upsampled) / (2 if fuse_type == "avg" else 1)
    levels, encodings = module(maps)
    for level in range(4):
        torch.testing.assert_close(levels[level], expected[level])
        assert torch.equal(encodings[level], module.position_encoding(levels[level]))


@torch.no_grad()
@pytest.mark.parametrize("top_down", [[2, 3], [0], [], [1, 3]])
def test_only_the_levels_named_get_the_coarser_one_added(top_down: list[int]):
    module = neck(fpn_top_down_levels=top_down, fpn_interp_model="nearest")
    expected = laterals(module, trunk_maps())
    for level in (2, 1, 0):
        if level in top_down:
            coarser = expected[level + 1].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            expected[level] = expected[level] + coarser
    for actual, wanted in zip(module(trunk_maps())[0], expected, strict=True):
        torch.testing.assert_close(actual, wanted)


@torch.no_grad()
@pytest.mark.parametrize(
    ("options", "sides"),
    [
        ({"kernel_size": 3, "padding": 1}, [32, 16, 8, 4]),
        ({"stride": 2}, [16, 8, 4, 2]),
        ({"kernel_size": 3, "stride": 2, "padding": 1}, [16, 8, 4, 2]),
    ],
)
def test_options_of_the_convolutions_are_those_of_the_convolutions(options: dict[str, int], sides: list[int]):
    module = neck(fpn_top_down_levels=[2], fpn_interp_model="nearest", **options)
    convolution = {key: value for key, value in options.items() if key != "kernel_size"}
    expected = laterals(module, trunk_maps(), **convolution)
    expected[2] = expected[2] + functional.interpolate(expected[3], scale_factor=2.0, mode="nearest")
    levels, encodings = module(trunk_maps())
    assert [level.shape[-1] for level in levels] == sides == [encoding.shape[-1] for encoding in encodings]
    for actual, wanted in zip(levels, expected, strict=True):
        torch.testing.assert_close(actual, wanted)


@torch.no_grad()
def test_a_level_of_one_cell_is_broadcast_as_in_sam2():
    levels, _ = neck(stride=2, fpn_top_down_levels=[2], fpn_interp_model="nearest")(trunk_maps(8))
    assert [level.shape[-1] for level in levels] == [4, 2, 2, 1]


@torch.no_grad()
def test_levels_that_do_not_fit_are_refused_with_both_sizes():
    module = neck(kernel_size=3, padding=0, fpn_top_down_levels=[2])
    with pytest.raises(ValueError, match=r"level 2 is \(6, 6\), but .* \(4, 4\); change kernel_size"):
        module(trunk_maps())


@torch.no_grad()
def test_in_half_precision_only_the_fused_level_is_float32():
    module = neck(fpn_top_down_levels=[2, 3], fpn_interp_model="nearest").bfloat16()
    levels, encodings = module([m.bfloat16() for m in trunk_maps()])
    wanted = [torch.bfloat16, torch.bfloat16, torch.float32, torch.bfloat16]
    assert [level.dtype for level in levels] == [encoding.dtype for encoding in encodings] == wanted


def test_the_names_are_those_of_the_published_checkpoints():
    assert list(neck().state_dict()) == [f"convs.{i}.conv.{part}" for i in range(4) for part in ("weight", "bias")]


def test_another_number_of_maps_is_refused():
    with pytest.raises(ValueError, match="3 maps came from the trunk, but the neck has 4 convolutions"):
        neck()(trunk_maps()[:3])


def test_an_unknown_fuse_type_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="fuse_type='max' is unknown; choose one of sum, avg"):
        neck(fuse_type="max")


def test_an_unknown_interpolation_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="fpn_interp_model='cubic' is unknown; choose one of nearest, bilinear"):
        neck(fpn_interp_model="cubic")

"""The trunk: derived shapes, legal sizes, options, and what it refuses."""

import re
from typing import Any

import pytest
import torch

from pipeline.errors import ConfigError
from pipeline.model.hiera import Hiera

SMALL: dict[str, Any] = {"embed_dim": 8, "stages": [1, 1, 2, 1], "global_att_blocks": [3]}


def trunk(**changes: Any) -> Hiera:
    torch.manual_seed(0)
    built = Hiera(**{**SMALL, **changes}).eval()
    torch.nn.init.normal_(built.pos_embed)
    torch.nn.init.normal_(built.pos_embed_window)
    return built


def test_blocks_of_the_tiny_trunk_are_as_published():
    with torch.device("meta"):
        tiny = Hiera(stages=[1, 2, 7, 2], global_att_blocks=[5, 7, 9])
    assert tiny.stage_ends == [0, 2, 9, 11]
    assert tiny.q_pool_blocks == [1, 3, 10]
    assert tiny.channel_list == [768, 384, 192, 96]
    assert [block.window for block in tiny.blocks] == [8, 8, 4, 4, 14, 0, 14, 0, 14, 0, 14, 7]
    assert [block.attn.num_heads for block in tiny.blocks] == [1, 2, 2] + [4] * 7 + [8, 8]


def test_maps_come_highest_resolution_first():
    maps = trunk()(torch.randn(2, 3, 64, 96))
    assert [tuple(m.shape) for m in maps] == [(2, 8, 16, 24), (2, 16, 8, 12), (2, 32, 4, 6), (2, 64, 2, 3)]


def test_only_the_last_map_comes_without_intermediate_ones():
    last = trunk(return_interm_layers=False)
    assert last.channel_list == [64]
    pixels_BCHW = torch.randn(1, 3, 64, 64)
    (only,) = last(pixels_BCHW)
    assert torch.equal(only, trunk()(pixels_BCHW)[-1])


def test_fewer_pools_keep_the_resolution_and_still_change_the_width():
    maps = trunk(q_pool=1)(torch.randn(1, 3, 32, 32))
    assert [tuple(m.shape[1:]) for m in maps] == [(8, 8, 8), (16, 4, 4), (32, 4, 4), (64, 4, 4)]


def test_no_global_blocks_are_allowed():
    assert all(block.window for block in trunk(global_att_blocks=None).blocks)


def test_the_position_embedding_is_a_stretched_part_plus_a_tiled_part():
    built = trunk()
    embedding = built.position_embedding(16, 24)
    coarse = torch.nn.functional.interpolate(built.pos_embed, size=(16, 24), mode="bicubic", align_corners=False)
    for y, x in [(0, 0), (7, 8), (15, 23)]:
        expected = coarse[0, :, y, x] + built.pos_embed_window[0, :, y % 8, x % 8]
        torch.testing.assert_close(embedding[0, y, x], expected)


@pytest.mark.parametrize("side", [1000, 1016, 48, 33, 20])
def test_sides_that_cannot_be_tiled_are_refused_with_their_value(side: int):
    with pytest.raises(ValueError, match=rf"width {side} .* multiple of 32"):
        trunk()(torch.zeros(1, 3, 32, side))


@pytest.mark.parametrize("side", [29, 32, 61])
def test_sides_that_fill_the_last_patch_partly_are_legal(side: int):
    assert trunk()(torch.zeros(1, 3, 32, side))[0].shape[-1] == -(-side // 4)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 4, 32, 32)])
def test_pixels_of_another_shape_are_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=re.escape(str(shape))):
        trunk()(torch.zeros(shape))


def test_integer_pixels_are_refused():
    with pytest.raises(ValueError, match=r"torch\.uint8"):
        trunk()(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": []}, r"stages=\[\]"),
        ({"stages": [1, 0, 1, 1]}, r"stages=\[1, 0, 1, 1\]"),
        ({"stages": [1, 1, 198, 1]}, "at most 200 blocks"),
        ({"window_spec": [8, 4]}, "one entry for each of the 4 stages"),
        ({"window_spec": [0, 4, 14, 7]}, "window of at least 1"),
        ({"q_pool": 4}, "q_pool=4 must lie between 0 and 3"),
        ({"q_stride": [2, 1]}, r"q_stride=\[2, 1\]"),
        ({"drop_path_rate": 1.0}, r"drop_path_rate=1\.0"),
        ({"global_att_blocks": [1]}, "both global and pooling"),
        ({"num_heads": 3}, "num_heads=3 does not divide"),
        ({"dim_mul": 1.0}, "must change its width"),
        ({"window_pos_embed_bkg_spatial_size": [7]}, r"bkg_spatial_size=\[7\]"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        trunk(**changes)


def test_a_weights_path_is_refused_and_checkpoint_is_named_instead():
    with pytest.raises(ConfigError, match=r"weights_path='x\.pt'.*checkpoint="):
        trunk(weights_path="x.pt")


def test_drop_path_rises_over_the_blocks_and_owns_no_tensors():
    dropping = trunk(drop_path_rate=0.4)
    rates = [getattr(block.drop_path, "probability", 0.0) for block in dropping.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    assert dropping.state_dict().keys() == trunk().state_dict().keys()

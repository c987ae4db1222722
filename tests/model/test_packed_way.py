"""The way of the tokens through the published trunks, and trunks that have none."""

import pytest
import torch

from pipeline.model.build import instantiate_encoder, load_encoder_config
from pipeline.model.hiera import Hiera
from pipeline.model.packed_way import Way


def trunk(name: str, *overrides: str) -> Hiera:
    with torch.device("meta"):
        return instantiate_encoder(load_encoder_config(name, overrides).tree).trunk


@pytest.mark.parametrize(("size", "num_leading"), [("tiny", 4), ("small", 4), ("base_plus", 6), ("large", 9)])
def test_published_trunks_have_one_and_their_first_blocks_take_windows_apart(size: str, num_leading: int):
    built = trunk(f"sam2.1_hiera_{size}").to_empty(device="cpu")
    assert Way.exists(built, (1024, 1024))
    way = Way(built, (1024, 1024))
    assert [level.size for level in way.levels] == [(256, 256), (128, 128), (64, 64), (32, 32)]
    assert [level.stride for level in way.levels] == [1, 2, 4, 8]
    assert [step.level.number for step in way.steps if step.level is not None] == [0, 1, 2, 3]
    assert way.num_leading == num_leading
    assert way.tokens_at_a_time == 8192
    assert way.positions_NC.shape == (65536, built.patch_embed.proj.out_channels)


@pytest.mark.parametrize("size", [(128, 128), (512, 512), (1024, 512), (32, 2048)])
def test_other_sizes_of_images_have_one(size: tuple[int, int]):
    assert Way.exists(trunk("hiera_debug"), size)


@pytest.mark.parametrize(
    "overrides",
    [
        ["trunk.window_spec=[8,4,15,7]"],
        ["trunk.q_stride=[4,4]"],
        ["trunk.return_interm_layers=false", "neck.backbone_channel_list=[128]", "scalp=0"],
    ],
)
def test_a_trunk_whose_windows_do_not_nest_has_none(overrides: list[str]):
    assert not Way.exists(trunk("hiera_debug", *overrides), (128, 128))

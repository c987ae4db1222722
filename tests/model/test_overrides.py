"""Overrides land on the encoder wherever it lies in its file."""

import pytest

from pipeline.errors import ConfigError
from pipeline.model.overrides import place_overrides

FULL = {"encoder_at": "model.image_encoder", "root_keys": ["model", "scratch"]}
MIDDLE = {"encoder_at": "image_encoder", "root_keys": ["image_encoder", "image_size"]}
BARE = {"encoder_at": "", "root_keys": ["_target_", "scalp", "trunk", "neck"]}


@pytest.mark.parametrize(
    ("file", "override", "placed"),
    [
        (BARE, "neck.fuse_type=avg", "++neck.fuse_type=avg"),
        (BARE, "+neck.fuse_type=avg", "++neck.fuse_type=avg"),
        (BARE, "model.image_encoder.scalp=0", "++scalp=0"),
        (BARE, "image_encoder.trunk.stages=[1,2]", "++trunk.stages=[1,2]"),
        (BARE, "~neck.fuse_type", "~neck.fuse_type"),
        (FULL, "neck.fuse_type=avg", "++model.image_encoder.neck.fuse_type=avg"),
        (FULL, "model.image_encoder.neck.fuse_type=avg", "++model.image_encoder.neck.fuse_type=avg"),
        (FULL, "~neck.position_encoding.scale=null", "~model.image_encoder.neck.position_encoding.scale=null"),
        (FULL, "++model.sam_mask_decoder_extra_args.x=0.98", "++model.sam_mask_decoder_extra_args.x=0.98"),
        (FULL, "model.image_size=512", "model.image_size=512"),
        (FULL, "scratch.y='a=b'", "scratch.y='a=b'"),
        (MIDDLE, "trunk.embed_dim=8", "++image_encoder.trunk.embed_dim=8"),
        (MIDDLE, "model.image_encoder.scalp=2", "++image_encoder.scalp=2"),
        (MIDDLE, "image_size=64", "image_size=64"),
        (FULL, " neck.d_model = 8 ", "++model.image_encoder.neck.d_model= 8"),
    ],
)
def test_overrides_are_moved_to_where_the_encoder_lies(file: dict, override: str, placed: str):
    assert place_overrides([override], **file) == [placed]


@pytest.mark.parametrize("file", [FULL, MIDDLE, BARE])
@pytest.mark.parametrize("mark", ["", "+", "++", "~"])
def test_unknown_arguments_are_refused_with_the_nearest(file: dict, mark: str):
    with pytest.raises(ConfigError, match="FpnNeck has no argument 'fuse_tipe'; did you mean 'fuse_type'"):
        place_overrides([f"{mark}neck.fuse_tipe=avg"], **file)


@pytest.mark.parametrize("override", ["hydra.run.dir=x", "+hydra=x", "neck/fpn=x", "neck@a:b=x", "defaults=[]"])
def test_overrides_of_hydra_and_of_groups_are_refused(override: str):
    with pytest.raises(ConfigError, match="touches Hydra or a config group"):
        place_overrides([override], **FULL)


@pytest.mark.parametrize("override", ["", "=x", "neck.fuse_type", "+neck.fuse_type"])
def test_what_is_no_override_is_refused(override: str):
    with pytest.raises(ConfigError, match="is not of the form key=value"):
        place_overrides([override], **BARE)


def test_other_sections_are_refused_where_there_are_none():
    with pytest.raises(ConfigError, match=r"'model\.image_size=512' is outside the image encoder"):
        place_overrides(["model.image_size=512"], **BARE)

"""Arguments are checked by name, presence and type before anything is built."""

import copy
from functools import cache
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.model.arguments import arguments_at, check_arguments
from pipeline.model.build import load_encoder_config


@cache
def shared_tree() -> dict[str, Any]:
    return load_encoder_config("hiera_debug").tree


def debug_tree() -> Any:
    return copy.deepcopy(shared_tree())


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("trunk.stagse", [1], r"trunk\.stagse: Hiera has no argument 'stagse'; did you mean 'stages'"),
        ("scalpel", 1, "^scalpel: ImageEncoder has no argument 'scalpel'"),
        ("trunk.embed_dim", "96", r"trunk\.embed_dim='96' is not of the type int"),
        ("trunk.embed_dim", True, r"trunk\.embed_dim=True is not of the type int"),
        ("trunk.embed_dim", None, r"trunk\.embed_dim=None is not of the type int"),
        ("trunk.stages", [1, "2"], r"trunk\.stages=\[1, '2'\] is not of the type list\[int\]"),
        ("trunk.stages", 3, r"trunk\.stages=3"),
        ("neck.fuse_type", 1, r"neck\.fuse_type=1 is not of the type str"),
        ("neck.position_encoding.normalize", "yes", r"normalize='yes' is not of the type bool"),
        ("neck.position_encoding.scale", "x", r"scale='x' is not of the type float \| None"),
        ("trunk", [], "trunk"),
    ],
)
def test_wrong_arguments_are_refused_by_place(place: str, value: Any, message: str):
    tree = debug_tree()
    node = tree
    *parents, last = place.split(".")
    for key in parents:
        node = node[key]
    node[last] = value
    with pytest.raises(ConfigError, match=message):
        check_arguments(tree)


def test_a_missing_argument_is_refused_and_an_optional_one_is_not():
    tree = debug_tree()
    del tree["neck"]["fuse_type"]
    check_arguments(tree)
    del tree["neck"]["d_model"]
    with pytest.raises(ConfigError, match=r"neck\.d_model is missing; FpnNeck needs it"):
        check_arguments(tree)


def test_whole_numbers_and_null_are_fine_where_they_belong():
    tree = debug_tree()
    tree["trunk"].update(dim_mul=2, global_att_blocks=None, weights_path=None)
    check_arguments(tree)


def test_every_argument_of_the_published_classes_is_there():
    assert list(arguments_at("trunk")) == [
        *("embed_dim", "num_heads", "drop_path_rate", "q_pool", "q_stride", "stages", "dim_mul", "head_mul"),
        *("window_pos_embed_bkg_spatial_size", "window_spec", "global_att_blocks", "weights_path"),
        "return_interm_layers",
    ]
    assert list(arguments_at("neck")) == [
        *("position_encoding", "d_model", "backbone_channel_list", "kernel_size", "stride", "padding"),
        *("fpn_interp_model", "fuse_type", "fpn_top_down_levels"),
    ]
    assert list(arguments_at("neck.position_encoding")) == [
        *("num_pos_feats", "temperature", "normalize", "scale", "warmup_cache", "image_size", "strides"),
    ]
    assert list(arguments_at("")) == ["trunk", "neck", "scalp"]

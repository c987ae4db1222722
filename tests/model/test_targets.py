"""A model file may name eight targets and nothing else, at any depth."""

import copy
import re
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.model.build import load_encoder_config
from pipeline.model.targets import FPN_NECK, HIERA, IMAGE_ENCODER, POSITION_ENCODING, TARGETS, locate, translate_targets

PUBLISHED = {
    "_target_": "sam2.modeling.backbones.image_encoder.ImageEncoder",
    "scalp": 1,
    "trunk": {"_target_": "sam2.modeling.backbones.hieradet.Hiera", "stages": [1, 2]},
    "neck": {
        "_target_": "sam2.modeling.backbones.image_encoder.FpnNeck",
        "position_encoding": {"_target_": "sam2.modeling.position_encoding.PositionEmbeddingSine"},
    },
}


def tree_with(place: str, value: Any) -> dict[str, Any]:
    tree = copy.deepcopy(PUBLISHED)
    *parents, last = place.split(".")
    node: Any = tree
    for key in parents:
        node = node.setdefault(key, {})
    node[last] = value
    return tree


def test_published_targets_become_ours_and_the_tree_is_left_alone():
    before = copy.deepcopy(PUBLISHED)
    translated = translate_targets(PUBLISHED)
    assert before == PUBLISHED
    assert translated["_target_"] == IMAGE_ENCODER
    assert translated["trunk"] == {"_target_": HIERA, "stages": [1, 2]}
    assert translated["neck"] == {"_target_": FPN_NECK, "position_encoding": {"_target_": POSITION_ENCODING}}
    assert translate_targets(translated) == translated


def test_the_table_has_four_published_names_and_our_own_four():
    assert len(TARGETS) == 8
    assert sorted(set(TARGETS.values())) == sorted(name for name in TARGETS if name.startswith("pipeline."))


@pytest.mark.parametrize(
    "place",
    ["_target_", "trunk._target_", "neck.position_encoding._target_", "trunk.a.b.c._target_"],
)
@pytest.mark.parametrize("target", ["os.system", "builtins.eval", "pipeline.model.hiera.PatchEmbed", None, 3, ["x"]])
def test_any_other_target_is_refused_by_name_with_the_choices(place: str, target: Any):
    with pytest.raises(ConfigError) as caught:
        translate_targets(tree_with(place, target))
    message = str(caught.value)
    assert repr(target) in message
    assert all(name in message for name in TARGETS)


def test_a_target_in_a_list_is_refused_with_its_place():
    with pytest.raises(ConfigError, match=r"'os\.system' at trunk\.stages\[1\]\[0\] is not allowed"):
        translate_targets(tree_with("trunk.stages", [1, [{"_target_": "os.system"}]]))


@pytest.mark.parametrize("key", ["_partial_", "_args_", "_convert_", "_recursive_", "_mode_", "_anything_"])
@pytest.mark.parametrize("place", ["", "trunk.", "neck.position_encoding.", "trunk.deeper.still."])
def test_other_keys_that_steer_hydra_are_refused(place: str, key: str):
    with pytest.raises(ConfigError, match=f"{key} is not allowed in a model file"):
        translate_targets(tree_with(place + key, True))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("_target_", HIERA, "at the root is in the wrong place; it belongs at trunk"),
        ("trunk._target_", FPN_NECK, "at trunk is in the wrong place; it belongs at neck"),
        ("trunk.inner._target_", HIERA, r"at trunk\.inner is in the wrong place"),
        ("trunk", None, r"trunk must be pipeline\.model\.hiera\.Hiera, but its _target_ is None"),
        ("neck.position_encoding", {}, "neck.position_encoding must be"),
    ],
)
def test_a_class_in_the_wrong_place_is_refused(place: str, value: Any, message: str):
    with pytest.raises(ConfigError, match=message):
        translate_targets(tree_with(place, value))


def test_shipped_files_name_our_own_targets():
    assert load_encoder_config("hiera_debug").tree["_target_"] == IMAGE_ENCODER


@pytest.mark.parametrize("target", sorted(set(TARGETS.values())))
def test_every_path_of_the_table_leads_to_the_class_of_that_name(target: str):
    found = locate(target)
    assert f"{found.__module__}.{found.__qualname__}" == target


@pytest.mark.parametrize(
    ("target", "leads_to"),
    [
        ("pipeline.model.build.ImageEncoder", "pipeline.model.image_encoder.ImageEncoder"),
        ("pathlib.Path", "pathlib.Path"),
        ("os.system", "<built-in function system>"),
        ("pipeline.model.hiera.PatchEmbed", "pipeline.model.hiera.PatchEmbed"),
        ("pipeline.model.hiera.Nothing", "None"),
    ],
)
def test_a_path_that_leads_elsewhere_is_refused_by_what_was_found(target: str, leads_to: str):
    with pytest.raises(
        ConfigError, match=re.escape(f"_target_ {target!r} leads to {leads_to}, which is not that class")
    ):
        locate(target)


@pytest.mark.parametrize("tree", [{"a": "${b}"}, {"a": ["x", "${oc.env:HOME}"]}, {"${a}": 1}])
def test_an_interpolation_that_is_left_is_refused(tree: dict[str, Any]):
    with pytest.raises(ConfigError, match="is an interpolation after all were resolved"):
        translate_targets({**PUBLISHED, "trunk": {**PUBLISHED["trunk"], **tree}})

"""Fingerprint: the same settings give the same one, any change another, and changes are told field by field."""

import pytest

from pipeline.featureset.fingerprint import differences, fingerprint

SETTINGS = {
    "code_version": 1,
    "encoder": {"trunk": {"embed_dim": 96, "stages": [1, 2, 7, 2]}, "scalp": 1},
    "weights": {"sha256": "ab12"},
    "precision": "fp32",
}


def test_the_order_of_fields_does_not_matter():
    assert fingerprint(SETTINGS) == fingerprint(dict(reversed(SETTINGS.items())))


def test_a_list_and_a_tuple_are_the_same_setting():
    assert fingerprint({"stages": [1, 2]}) == fingerprint({"stages": (1, 2)})
    assert differences({"stages": [1, 2]}, {"stages": (1, 2)}) == []


def test_the_fingerprint_is_the_same_in_every_process_and_version():
    assert fingerprint({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"precision": "bf16"}, "precision: fp32 -> bf16"),
        ({"weights": {"sha256": "cd34"}}, "weights.sha256: ab12 -> cd34"),
        ({"weights": {}}, "weights: (absent) -> {}"),
        ({"features": "fpn"}, "features: (absent) -> fpn"),
        ({"code_version": 1.0}, "code_version: 1 -> 1.0"),
        ({"code_version": None}, "code_version: 1 -> None"),
        ({"encoder": {**SETTINGS["encoder"], "scalp": 0}}, "encoder.scalp: 1 -> 0"),
    ],
)
def test_every_change_gives_another_fingerprint_and_is_told(change: dict[str, object], told: str):
    changed = {**SETTINGS, **change}
    assert fingerprint(changed) != fingerprint(SETTINGS)
    assert told in differences(SETTINGS, changed)


def test_only_what_differs_is_told_one_line_a_field():
    changed = {**SETTINGS, "precision": "bf16", "encoder": {"trunk": {"embed_dim": 112, "stages": [1, 2, 7, 2]}}}
    assert differences(SETTINGS, changed) == [
        "encoder.scalp: 1 -> (absent)",
        "encoder.trunk.embed_dim: 96 -> 112",
        "precision: fp32 -> bf16",
    ]

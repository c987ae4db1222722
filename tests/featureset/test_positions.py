"""Position encodings: stored once to a feature set, given back by map, and checked."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import FeatureSetError
from pipeline.featureset.positions import read_positions
from tests.small_set import MAPS, SmallSet, flip_byte


def stored_file(small: SmallSet) -> Path:
    assert small.record.position_encodings is not None
    return Path(small.uri) / small.record.position_encodings.name


def test_position_encodings_come_back_by_map_and_exact(tmp_path: Path):
    small = SmallSet(tmp_path / "set")
    found = read_positions(small.root, small.record)
    assert list(found) == ["fpn_0", "fpn_1"]
    for spec in MAPS:
        assert found[spec.column].dtype == np.float32
        np.testing.assert_array_equal(found[spec.column], small.positions[spec.column].transpose(2, 0, 1))


def test_position_encodings_are_stored_once_to_a_feature_set(tmp_path: Path):
    small = SmallSet(tmp_path / "set")
    small.embed([["a"], ["b"]])
    small.embed([["c"]])
    SmallSet(tmp_path / "set")
    assert list((tmp_path / "set/position_encodings").iterdir()) == [stored_file(small)]


def test_a_set_without_maps_has_no_position_encodings(tmp_path: Path):
    small = SmallSet(tmp_path / "set", maps=())
    assert small.record.position_encodings is None
    assert read_positions(small.root, small.record) == {}


def test_damaged_or_missing_position_encodings_are_refused_by_name(tmp_path: Path):
    small = SmallSet(tmp_path / "set")
    file = stored_file(small)
    flip_byte(file, 200)
    with pytest.raises(FeatureSetError, match=f"{file.name} is damaged"):
        read_positions(small.root, small.record)
    file.unlink()
    with pytest.raises(FeatureSetError, match=f"{file.name} is missing"):
        read_positions(small.root, small.record)

"""Feature sets: made once with their settings, opened again with the same, refused with others."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import RunConflictError, SinkError
from pipeline.featureset import catalog
from pipeline.featureset.fingerprint import fingerprint
from pipeline.featureset.records import FeatureSetRecord
from pipeline.sinks.feature_sets import claim_feature_set, require_same_settings
from pipeline.storage.folder import Folder
from tests.small_set import MAPS, SETTINGS, SmallSet, map_values

POSITIONS = {spec.column: map_values("position", spec) for spec in MAPS}


def claim(root: Folder, settings: dict[str, Any] = SETTINGS) -> FeatureSetRecord:
    return claim_feature_set(root, settings=settings, maps=MAPS, positions=POSITIONS)


def test_a_feature_set_knows_its_settings_and_maps(tmp_path: Path):
    record = claim(Folder(tmp_path))
    assert record.settings == SETTINGS
    assert record.maps == MAPS
    assert record.fingerprint == fingerprint(SETTINGS)
    assert catalog.feature_set_record(Folder(tmp_path)) == record


def test_claiming_again_with_the_same_settings_gives_the_one_that_is_there(tmp_path: Path):
    first = claim(Folder(tmp_path))
    assert claim(Folder(tmp_path), dict(reversed(SETTINGS.items()))) == first
    assert len(list((tmp_path / "position_encodings").iterdir())) == 1


def test_claiming_with_other_settings_is_refused_field_by_field(tmp_path: Path):
    claim(Folder(tmp_path))
    other = {**SETTINGS, "weights": {"kind": "random", "seed": 1}, "features": "pooled", "storage_dtype": "float32"}
    with pytest.raises(RunConflictError) as caught:
        claim(Folder(tmp_path), other)
    assert str(caught.value).splitlines() == [
        f"{tmp_path} holds features of other settings:",
        "  features: fpn -> pooled",
        "  storage_dtype: (absent) -> float32",
        "  weights.seed: 0 -> 1",
        "use the old settings, or another sink.uri for the new ones",
    ]
    assert len(list((tmp_path / "position_encodings").iterdir())) == 1


def test_different_fingerprints_never_mix_and_leave_what_is_there_alone(tmp_path: Path):
    small = SmallSet(tmp_path)
    small.embed([["a"]])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(RunConflictError):
        require_same_settings(small.root, small.record, {**SETTINGS, "features": "embed"})
    with pytest.raises(RunConflictError):
        claim(small.root, {**SETTINGS, "features": "embed"})
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_of_many_claims_at_once_one_wins_and_all_get_it(tmp_path: Path):
    with ThreadPoolExecutor(6) as pool:
        records = list(pool.map(lambda _: claim(Folder(tmp_path)), range(6)))
    assert all(record == records[0] for record in records), records
    assert catalog.feature_set_record(Folder(tmp_path)) == records[0]


def test_of_claims_with_different_settings_at_once_one_wins_and_the_others_are_refused(tmp_path: Path):
    def attempt(seed: int) -> int | None:
        try:
            return int(claim(Folder(tmp_path), {**SETTINGS, "seed": seed}).settings["seed"])
        except RunConflictError:
            return None

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(attempt, range(6)))
    assert sum(outcome is not None for outcome in outcomes) == 1, outcomes


def test_a_set_without_maps_stores_no_position_encodings(tmp_path: Path):
    record = claim_feature_set(Folder(tmp_path), settings=SETTINGS, maps=(), positions={})
    assert record.position_encodings is None
    assert not (tmp_path / "position_encodings").exists()


def test_a_place_that_cannot_be_written_is_a_sink_error(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(SinkError):
        claim(Folder(tmp_path / "file"))

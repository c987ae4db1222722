"""Records: what is written is what is read, and what cannot be understood is refused."""

import json

import pytest
from pydantic import ValidationError

from pipeline.errors import FeatureSetError
from pipeline.featureset.records import CommitRecord, FeatureSetRecord, RunRecord, TableFile
from tests.small_set import MAPS, SETTINGS, SOURCE, quarantine_row

FILE = TableFile(name="shards/000001/x.parquet", num_rows=3, size_bytes=1234, sha256="0" * 64)
COMMIT = CommitRecord(
    run=1,
    unit=2,
    token="t",  # noqa: S106  no secret
    fingerprint="f",
    shard=FILE,
    quarantine=(quarantine_row("é😀.jpg"),),
)
RECORDS = [
    COMMIT,
    FeatureSetRecord(fingerprint="f", settings=SETTINGS, maps=MAPS, position_encodings=FILE),
    FeatureSetRecord(fingerprint="f", settings=SETTINGS, maps=(), position_encodings=None),
    RunRecord(run=1, fingerprint="f", source=SOURCE, plan=FILE, num_images=4, num_units=2),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_comes_back_as_it_was_written(record: CommitRecord):
    assert type(record).from_bytes(record.to_bytes(), "x.json") == record


def test_a_record_is_readable_json_that_begins_with_its_format():
    text = COMMIT.to_bytes().decode()
    assert text.startswith('{\n "format": 1,\n')
    assert json.loads(text)["quarantine"][0]["image_id"] == "é😀.jpg"


def test_a_record_cannot_be_changed():
    with pytest.raises(ValidationError):
        COMMIT.unit = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "says"),
    [({"format": 2}, "format"), ({"later": 1}, "later"), ({"unit": "many"}, "unit"), ({"shard": {}}, "shard.name")],
)
def test_a_record_of_another_kind_is_refused_naming_file_and_field(change: dict[str, object], says: str):
    data = json.dumps({**json.loads(COMMIT.to_bytes()), **change}).encode()
    with pytest.raises(FeatureSetError, match=rf"commits/2\.json is not a record .*{says}"):
        CommitRecord.from_bytes(data, "commits/2.json")


@pytest.mark.parametrize("length", [0, 1, 50, -3])
def test_a_record_that_was_cut_short_is_refused(length: int):
    with pytest.raises(FeatureSetError, match="it is damaged or was written by a newer version"):
        CommitRecord.from_bytes(COMMIT.to_bytes()[:length], "commits/2.json")


def test_a_commit_accounts_for_features_and_quarantine():
    assert COMMIT.num_images == 4
    assert COMMIT.model_copy(update={"shard": None}).num_images == 1


def test_a_quarantine_row_knows_the_stages_and_classes():
    with pytest.raises(ValidationError, match="stage"):
        type(quarantine_row("a")).model_validate({**quarantine_row("a").model_dump(), "stage": "upload"})

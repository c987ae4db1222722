"""Records: what is written is what is read, and what cannot be understood, or has changed since, is refused."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.errors import FeatureSetError, ImageError
from pipeline.featureset.records import (
    Abandonment,
    CommitRecord,
    FeatureSetRecord,
    IndexRows,
    Manifest,
    QuarantineRow,
    Record,
    RunRecord,
    TableFile,
)
from tests.small_set import MAPS, SETTINGS, SOURCE, quarantine_row

FILE = TableFile(name="shards/000001/x.parquet", num_rows=3, size_bytes=1234, sha256="0" * 64)
COMMIT = CommitRecord(
    run=1,
    unit=2,
    token="t",  # noqa: S106  no secret
    fingerprint="f",
    shard=FILE,
    rows=IndexRows(
        image_id=("a", "b", "é"), uri=("x/a", "x/b", "x/é"), original_height=(1, 2, 3), original_width=(4, 5, 6)
    ),
    quarantine=(quarantine_row("é😀.jpg"),),
)
RUN = RunRecord(
    run=1, fingerprint="f", source=SOURCE, plan=FILE, num_images=7, num_units=3, images_per_unit=3, removed=None
)
RECORDS = [
    COMMIT,
    FeatureSetRecord(fingerprint="f", settings=SETTINGS, maps=MAPS, position_encodings=FILE),
    FeatureSetRecord(fingerprint="f", settings=SETTINGS, maps=(), position_encodings=None),
    RUN,
    RUN.model_copy(update={"removed": FILE}),
    Manifest(
        run=1,
        fingerprint="f",
        num_planned=4,
        num_embedded=3,
        num_quarantined=1,
        size_bytes=5,
        sealed_at="2026-01-01",
        index=FILE,
        shards=FILE,
        quarantine=FILE,
    ),
    Abandonment(run=1, token="t", abandoned_at="2026-01-01"),  # noqa: S106
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_comes_back_as_it_was_written(record: Record):
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
    fields = json.loads(COMMIT.to_bytes())
    del fields["digest"]
    with pytest.raises(FeatureSetError, match=rf"commits/2\.json is not a record .*{says}"):
        CommitRecord.from_bytes(json.dumps({**fields, **change}).encode(), "commits/2.json")


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_with_any_changed_byte_is_refused_or_means_the_same(record: Record):
    """Whatever bit flips: in a name, a number, the digest, or in what only makes it readable."""
    data = record.to_bytes()
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1
        try:
            found = type(record).from_bytes(bytes(changed), "x.json")
        except FeatureSetError:
            continue
        else:
            assert found == record, (place, bytes(changed))


def test_a_changed_field_is_told_by_the_digest():
    data = COMMIT.to_bytes().replace(b'"unit": 2', b'"unit": 3')
    with pytest.raises(FeatureSetError, match=r"commits/2\.json is damaged: its digest is not that of its fields"):
        CommitRecord.from_bytes(data, "commits/2.json")


def test_the_order_of_fields_and_the_spaces_between_them_mean_nothing():
    fields = json.loads(COMMIT.to_bytes())
    data = json.dumps(dict(reversed(fields.items())), ensure_ascii=False).encode()
    assert CommitRecord.from_bytes(data, "x.json") == COMMIT


@pytest.mark.parametrize("data", [b"[]", b"null", b"3", b'"text"', b"\xff\xfe", b"{}", b"NaN"])
def test_what_is_json_but_no_record_is_refused(data: bytes):
    with pytest.raises(FeatureSetError, match="x is not a record this version can read"):
        CommitRecord.from_bytes(data, "x")


@pytest.mark.parametrize("length", [0, 1, 50, -3])
def test_a_record_that_was_cut_short_is_refused(length: int):
    with pytest.raises(FeatureSetError, match="it is damaged or was written by a newer version"):
        CommitRecord.from_bytes(COMMIT.to_bytes()[:length], "commits/2.json")


def test_a_commit_accounts_for_features_and_quarantine():
    assert COMMIT.num_images == 4
    assert COMMIT.model_copy(update={"shard": None}).num_images == 1


def test_a_run_knows_how_many_images_a_unit_has():
    assert [RUN.num_images_of(unit) for unit in range(RUN.num_units)] == [3, 3, 1]
    whole = RUN.model_copy(update={"num_images": 6, "num_units": 2})
    assert [whole.num_images_of(unit) for unit in range(whole.num_units)] == [3, 3]


def test_the_two_ends_of_a_run_cannot_be_taken_for_each_other():
    ends: dict[type[Record], Any] = {type(record): record for record in RECORDS[-2:]}
    for kind, other in ((Manifest, Abandonment), (Abandonment, Manifest)):
        with pytest.raises(FeatureSetError, match="is not a record"):
            kind.from_bytes(ends[other].to_bytes(), "manifest.json")


def test_a_quarantine_row_is_made_of_an_image_and_what_was_wrong_with_it():
    error = ImageError("it ends early", stage="fetch", error_type="Timeout", error_class="transient")
    assert QuarantineRow.of("a", "/a", error).model_dump() == {
        "image_id": "a",
        "uri": "/a",
        "stage": "fetch",
        "error_class": "transient",
        "error_type": "Timeout",
        "message": "it ends early",
    }


def test_a_quarantine_row_knows_the_stages_and_classes():
    with pytest.raises(ValidationError, match="stage"):
        type(quarantine_row("a")).model_validate({**quarantine_row("a").model_dump(), "stage": "upload"})


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "../../other/x",
        "runs/../../x",
        "runs/..",
        "/etc/passwd",
        "s3://b/x",
        "~/x",
        "a//b",
        "a/",
        "..\\x",
        "a\n",
        "",
        ".",
    ],
)
def test_a_record_names_files_below_its_feature_set_alone(name: str):
    with pytest.raises(ValidationError, match="which is no file below its feature set"):
        TableFile(name=name, num_rows=1, size_bytes=1, sha256="0")
    forged = RUN.model_copy(update={"plan": TableFile.model_construct(**{**FILE.model_dump(), "name": name})})
    with pytest.raises(FeatureSetError, match=r"x.json is not a record .*plan.name .*no file below its feature set"):
        RunRecord.from_bytes(forged.to_bytes(), "x.json")

"""Croissant metadata: valid to its own library, which reads the images of a run through it."""

import json
from pathlib import Path

import mlcroissant
import numpy as np

from pipeline.exports.croissant import croissant, licence_in
from tests.exports.described import facts_of, two_runs
from tests.small_set import original_size, pooled_values


def test_its_own_library_finds_nothing_wrong_and_reads_the_images(tmp_path: Path):
    small = two_runs(tmp_path / "set")
    (tmp_path / "set/croissant.json").write_bytes(croissant(facts_of(small, "CC0-1.0")))
    dataset = mlcroissant.Dataset(str(tmp_path / "set/croissant.json"))
    assert list(dataset.metadata.ctx.issues.errors) == []
    assert [records.name for records in dataset.metadata.record_sets] == ["images-1", "images-2"]
    first, _ = dataset.records("images-1")
    assert first["images-1/image_id"] == b"cats/1.jpg"
    assert (first["images-1/original_height"], first["images-1/original_width"]) == original_size("cats/1.jpg")
    np.testing.assert_array_equal(np.float32(first["images-1/embedding"]), pooled_values("cats/1.jpg"))
    assert [record["images-2/image_id"] for record in dataset.records("images-2")] == [b"cats/2.jpg"]


def test_it_says_model_weights_settings_and_hashes(tmp_path: Path):
    facts = facts_of(two_runs(tmp_path / "set"), "CC0-1.0")
    said = json.loads(croissant(facts))
    assert "RANDOM" in said["description"]
    assert facts.record.fingerprint in said["description"]
    assert '"side_px": 64' in said["description"]
    assert (said["license"], said["version"], said["datePublished"]) == ("CC0-1.0", "2.0.0", facts.runs[1].sealed_at)
    *indexes, shards = said["distribution"]
    assert [index["sha256"] for index in indexes] == [run.index.sha256 for run in facts.runs]
    assert shards["includes"] == "shards/*/*.parquet"


def test_the_licence_is_read_back_and_nothing_else_is_believed(tmp_path: Path):
    assert licence_in(croissant(facts_of(two_runs(tmp_path / "set"), "CC0-1.0"))) == "CC0-1.0"
    for odd in (b"", b"[]", b"{", b'{"license": 4}', b"\xff"):
        assert licence_in(odd) is None

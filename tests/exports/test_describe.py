"""A set is described at its root; the licence stays, the rest follows the last seal, and nothing else notices."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import FeatureSetError
from pipeline.exports.describe import describe
from pipeline.maintenance.orphans import Orphans
from pipeline.maintenance.verify import verify
from pipeline.readers.feature_set import open_features
from tests.conftest import REPOSITORY
from tests.exports.described import two_runs
from tests.small_set import SmallSet


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "jobs/describe.py", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=100, check=False)


def test_a_licence_once_said_is_kept_and_the_rest_follows_the_last_seal(tmp_path: Path):
    small = two_runs(tmp_path / "set")
    describe(small.root)
    assert "not stated" in small.root.read("README.md").decode()
    describe(small.root, "CC0-1.0")
    small.embed([["new.jpg"]])
    describe(small.root)
    text = small.root.read("README.md").decode()
    assert "of the images: CC0-1.0" in text
    assert "| rows | 4;" in text
    assert b'"images-3"' in small.root.read("croissant.json")


def test_what_is_there_as_it_should_be_is_not_written_again(tmp_path: Path):
    small = two_runs(tmp_path / "set")
    describe(small.root)
    files = [tmp_path / "set" / name for name in ("README.md", "croissant.json")]
    before = [file.stat().st_ino for file in files]
    describe(small.root)
    assert [file.stat().st_ino for file in files] == before
    files[0].write_text("stale")
    describe(small.root)
    assert files[0].read_text() != "stale"
    assert files[1].stat().st_ino == before[1]


def test_descriptions_are_neither_damage_nor_orphans_nor_features(tmp_path: Path):
    small = two_runs(tmp_path / "set")
    before = open_features(small.uri).image_ids
    describe(small.root)
    assert verify(small.root, "full").findings == []
    assert list(Orphans(small.root).find(older_than_s=-60)) == []
    assert open_features(small.uri).image_ids == before


def test_a_set_in_a_bucket_is_described_too(store):
    small = two_runs(f"s3://{store.bucket}/set")
    describe(small.root, "CC0-1.0")
    describe(small.root)
    assert "of the images: CC0-1.0" in small.root.read("README.md").decode()


def test_what_is_not_sealed_gets_no_description(tmp_path: Path):
    small = SmallSet(tmp_path / "set")
    with pytest.raises(FeatureSetError, match="not sealed"):
        describe(small.root)
    assert not (tmp_path / "set/README.md").exists()


def test_the_job_says_where_and_refuses_in_one_line(tmp_path: Path):
    small = two_runs(tmp_path / "set")
    done = run(f"sink.uri={small.uri}", "licence=CC-BY-4.0")
    assert (done.returncode, done.stdout) == (0, f"described {small.uri}: README.md, croissant.json\n"), done
    assert "cc-by-4.0" in small.root.read("README.md").decode()
    done = run(f"sink.uri={tmp_path / 'nothing'}")
    assert done.returncode == 65, done
    assert done.stderr.count("\n") == 1

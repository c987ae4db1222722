"""Commits: the one write that makes rows visible; of two writers of a unit one stands."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.errors import SinkError
from pipeline.featureset import catalog, paths
from pipeline.featureset.records import CommitRecord
from pipeline.readers.feature_set import open_features
from pipeline.sinks.commits import commit_unit
from pipeline.sinks.seal import seal_run
from pipeline.storage import Folder
from tests.small_set import SmallSet


def record(token: str) -> CommitRecord:
    return CommitRecord(run=1, unit=0, token=token, fingerprint="f", shard=None, quarantine=())


def test_a_commit_stands_as_it_was_written(tmp_path: Path):
    root = Folder(tmp_path)
    assert commit_unit(root, record("mine")) == record("mine")
    assert catalog.commit_record(root, 1, 0) == record("mine")


def test_of_two_writers_of_a_unit_the_first_stands_and_both_are_told(tmp_path: Path):
    root = Folder(tmp_path)
    assert commit_unit(root, record("first")) == record("first")
    assert commit_unit(root, record("second")) == record("first")
    assert catalog.commit_record(root, 1, 0) == record("first")


def test_committing_the_same_record_again_is_harmless(tmp_path: Path):
    root = Folder(tmp_path)
    assert commit_unit(root, record("mine")) == commit_unit(root, record("mine"))
    assert root.names(paths.commits(1)) == ["000000000.json"]


def test_of_many_writers_at_once_one_stands_and_all_are_told(tmp_path: Path):
    root = Folder(tmp_path)
    tokens = [str(number) for number in range(8)]
    with ThreadPoolExecutor(len(tokens)) as pool:
        told = [commit.token for commit in pool.map(lambda token: commit_unit(root, record(token)), tokens)]
    standing = catalog.commit_record(root, 1, 0)
    assert standing is not None
    assert set(told) == {standing.token}


def test_nothing_is_visible_until_committed(tmp_path: Path):
    """A shard without a commit, and the shard of a writer that came second, are in no sealed state."""
    small = SmallSet(tmp_path / "set")
    run = small.begin([["a", "b"]])
    standing = small.commit(run, 0, ["a", "b"], version="first")
    small.commit(run, 0, ["a", "b"], version="second")
    seal_run(small.root, run)
    features = open_features(small.uri)
    assert len(list(Path(small.uri, "shards").rglob("*.parquet"))) == 2
    assert standing.shard is not None
    assert features.files == [f"{small.uri}/{standing.shard.name}"]
    assert features.image_ids == ["a", "b"]


def test_a_commit_that_cannot_be_written_is_a_sink_error(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match=r"choose another sink\.uri"):
        commit_unit(Folder(tmp_path / "file"), record("mine"))


class LosesTheAnswer(Folder):
    """A store whose writes arrive, but whose answers do not."""

    def create(self, name: str, data: bytes) -> bool:
        super().create(name, data)
        raise SinkError("the answer was lost")


def test_a_lost_answer_to_our_own_write_is_settled_by_its_token(tmp_path: Path):
    lossy = LosesTheAnswer(tmp_path)
    assert commit_unit(lossy, record("mine")) == record("mine")
    with pytest.raises(SinkError, match="the answer was lost"):
        commit_unit(lossy, record("another's"))
    assert catalog.commit_record(lossy, 1, 0) == record("mine")

"""Commits: the one write that makes rows visible; of two writers of a unit one stands."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from pipeline.errors import SinkError, StoreUnavailableError
from pipeline.featureset import catalog, paths
from pipeline.featureset.records import CommitRecord
from pipeline.readers.feature_set import open_features
from pipeline.sinks.commits import commit_unit
from pipeline.sinks.seal import seal_run
from pipeline.storage.folder import Folder
from tests.faults.barriers import Barrier
from tests.faults.faults import Answer, Fault, Reset
from tests.faults.proxied import ProxiedBucket
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
    assert list(root.names(paths.commits(1))) == ["000000000.json"]


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


@pytest.mark.parametrize("harm", [partial(Answer, 503), partial(Answer, 412), Reset], ids=["503", "412", "reset"])
@pytest.mark.parametrize("place", ["before", "after"])
def test_a_lost_request_or_answer_is_settled_by_the_token(place: str, harm: Callable[..., Fault], store: ProxiedBucket):
    root = Folder(f"s3://{store.bucket}/set", 30.0)
    faults = []
    for token in ("mine", "another's"):
        faults.append(store.proxy.install(harm(operation="PutObject", first=1, place=place)))
        assert commit_unit(root, record(token)) == record("mine")
    assert catalog.commit_record(root, 1, 0) == record("mine")
    assert [fault.fired for fault in faults] == [1, 1]


def test_where_nobody_knows_whether_it_was_written_nobody_is_told_that_it_was_not(store: ProxiedBucket):
    root = Folder(f"s3://{store.bucket}/set", 0.1)
    store.proxy.install(Reset(operation="PutObject", place="after"))
    store.proxy.install(Answer(503, operation="GetObject"))
    with pytest.raises(StoreUnavailableError):
        commit_unit(root, record("mine"))
    store.proxy.clear()
    assert catalog.commit_record(root, 1, 0) == record("mine")
    assert commit_unit(root, record("another's")) == record("mine")


def test_a_commit_that_was_there_and_is_gone_is_an_error(store: ProxiedBucket):
    root = Folder(f"s3://{store.bucket}/set", 30.0)
    commit_unit(root, record("first"))
    reading = store.proxy.install(Barrier(operation="GetObject", at=2))  # the first one settles who was first
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(commit_unit, root, record("second"))
        reading.wait_held()
        store.direct.delete_object(Bucket=store.bucket, Key=f"set/{paths.commit(1, 0)}")
        reading.release()
        with pytest.raises(SinkError, match="something deletes below the sink"):
            second.result()

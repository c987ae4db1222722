"""The index of a shard: read from its headers alone, remembered for its version, and never believed without a check."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.errors import AccessDeniedError, StoreUnavailableError
from pipeline.sources.files import SourceFile, SourceFiles
from pipeline.sources.tar_index import PassedOver, TarIndex, index_of
from pipeline.storage.cache import cache_folder
from tests.faults.faults import Answer
from tests.faults.proxied import ProxiedBucket
from tests.privileges import without_file_handles, without_privileges
from tests.tars import END, header, member, write_tar

MEMBERS = {f"{number:03d}.jpg": bytes([number]) * 3000 for number in range(50)}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("SAM2_EMBED_CACHE", str(tmp_path / "cache"))
    return cache_folder() / "tar"


@pytest.fixture
def shard(tmp_path: Path) -> SourceFile:
    write_tar(tmp_path / "a.tar", MEMBERS)
    return listed(tmp_path / "a.tar")


def listed(place: Path | str) -> SourceFile:
    (shard,) = SourceFiles(str(place), (".tar",), 1.0)
    return shard


def contents(index: TarIndex, data: bytes) -> dict[str, bytes]:
    return {row["name"]: data[row["start"] : row["end"]] for row in index.members.to_pylist()}


def test_an_index_says_where_every_member_is(shard: SourceFile):
    index = index_of(shard, 1.0)
    assert contents(index, Path(shard.uri).read_bytes()) == MEMBERS
    assert (index.passed_over, index.damage) == ({}, None)


def test_an_unchanged_shard_is_not_read_again(shard: SourceFile, cache: Path):
    first = index_of(shard, 1.0)
    Path(shard.uri).unlink()
    assert index_of(shard, 1.0) == first
    assert [path.suffix for path in cache.iterdir()] == [".parquet"]


def test_a_changed_shard_is_read_again_and_takes_its_old_place(shard: SourceFile, cache: Path):
    index_of(shard, 1.0)
    write_tar(Path(shard.uri), {"other.png": b"x"})
    assert list(contents(index_of(listed(shard.uri), 1.0), b"")) == ["other.png"]
    assert len(list(cache.iterdir())) == 1
    assert "changed" in str(index_of(shard, 1.0).damage) or "when listed" in str(index_of(shard, 1.0).damage)


def test_a_cache_that_was_tampered_with_is_not_believed(shard: SourceFile, cache: Path):
    first = index_of(shard, 1.0)
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    for place in (0, 30, len(whole) // 2, len(whole) - 20):
        kept.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        assert index_of(shard, 1.0) == first, place
    kept.write_bytes(whole[:100])
    assert index_of(shard, 1.0) == first
    assert kept.read_bytes() == whole, "and is mended"


def test_a_cache_that_cannot_be_written_is_done_without(shard: SourceFile, tmp_path: Path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SAM2_EMBED_CACHE", str(tmp_path / "file"))
    assert index_of(shard, 1.0).members.num_rows == len(MEMBERS)


def test_writers_at_the_same_time_leave_one_whole_index(shard: SourceFile, cache: Path):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: index_of(shard, 1.0), range(16)))
    assert all(each == found[0] for each in found)
    assert len(list(cache.iterdir())) == 1


def test_what_was_passed_over_is_remembered_too(tmp_path: Path):
    (tmp_path / "a.tar").write_bytes(member("../x") + header("l", 0, b"2") + member("/y") + member("a.jpg") + END)
    expected = {"paths that lead out of the archive": PassedOver(2, "../x"), "links": PassedOver(1, "l")}
    for _ in range(2):
        assert index_of(listed(tmp_path / "a.tar"), 1.0).passed_over == expected


def test_a_damaged_shard_gives_what_comes_before_the_damage_and_is_not_remembered(tmp_path: Path, cache: Path):
    (tmp_path / "a.tar").write_bytes(member("a.jpg") + member("b.jpg")[:514])
    index = index_of(listed(tmp_path / "a.tar"), 1.0)
    assert index.members["name"].to_pylist() == ["a.jpg"]
    assert "within 'b.jpg'" in str(index.damage)
    assert not cache.exists()


def test_trouble_of_the_disk_or_the_machine_is_not_the_shards_fault(shard: SourceFile, cache: Path):
    with (
        pytest.raises(StoreUnavailableError, match=r"a\.tar cannot be read: Too many open files"),
        without_file_handles(),
    ):
        index_of(shard, 1.0)
    Path(shard.uri).chmod(0o000)
    listed_again = listed(shard.uri)
    with without_privileges(), pytest.raises(AccessDeniedError, match=r"no permission to read .*a\.tar"):
        index_of(listed_again, 1.0)
    assert not cache.exists()


# Stores


@pytest.fixture
def remote(store: ProxiedBucket, shard: SourceFile) -> SourceFile:
    """A shard in a bucket, a megabyte of whose members is one image."""
    write_tar(Path(shard.uri), {"large.jpg": b"x" * (4 << 20), **MEMBERS})
    store.direct.put_object(Bucket=store.bucket, Key="a.tar", Body=Path(shard.uri).read_bytes())
    return listed(f"s3://{store.bucket}/a.tar")


def test_a_store_is_asked_for_many_headers_at_a_time_and_for_no_long_member(remote: SourceFile, store: ProxiedBucket):
    before = len(store.proxy.seen("GetObject"))
    assert index_of(remote, 1.0).members.num_rows == len(MEMBERS) + 1
    assert len(store.proxy.seen("GetObject")) - before == 2


def test_trouble_of_a_store_is_waited_out_or_ends_the_planning(remote: SourceFile, store: ProxiedBucket):
    store.proxy.install(Answer(503, operation="GetObject"))
    with pytest.raises(StoreUnavailableError):
        index_of(remote, 0.1)
    store.proxy.clear()
    store.proxy.install(Answer(403, "ExpiredToken", operation="GetObject"))
    with pytest.raises(AccessDeniedError):
        index_of(remote, 0.1)
    store.proxy.clear()
    store.proxy.install(Answer(503, operation="GetObject", first=4))
    assert index_of(remote, 30.0).damage is None


def test_a_shard_without_permission_ends_the_planning_and_one_that_is_gone_is_damaged(
    remote: SourceFile, store: ProxiedBucket
):
    store.proxy.install(Answer(403, operation="GetObject"))
    with pytest.raises(AccessDeniedError, match=r"no permission to read .*a\.tar"):
        index_of(remote, 0.1)
    store.proxy.clear()
    store.direct.delete_object(Bucket=store.bucket, Key="a.tar")
    assert "it cannot be read: " in str(index_of(remote, 0.1).damage)


# Bombs: in a process of its own, whose memory is its own too

_MEASURED = """
import resource, sys
from pipeline.sources.files import SourceFiles
from pipeline.sources.tar_index import index_of
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
(shard,) = SourceFiles(sys.argv[1], (".tar",), 1.0)
index = index_of(shard, 1.0)
print(index.members.num_rows, index.damage, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_bombs_take_little_memory(tmp_path: Path):
    long_names = header("bomb", 1 << 30, b"L") + header("bomb", 1 << 30, b"x")
    with (tmp_path / "bomb.tar").open("wb") as file:
        file.write(long_names[:512])
        file.seek(1 << 30, 1)  # a hole, which takes no disk
        file.write(long_names[512:])
        file.seek(1 << 30, 1)
        file.write(header("many.jpg") * 10_000 + END)
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, tmp_path / "bomb.tar"], capture_output=True, text=True, check=True
    )
    num_members, damage, mebibytes = done.stdout.split()
    assert (num_members, damage) == ("9999", "None")
    assert int(mebibytes) < 64

"""Other stores: listed and read like a folder on disk, and never written."""

import os
from collections.abc import Callable
from importlib.util import find_spec

import fsspec
import pytest

from pipeline.errors import ConfigError
from pipeline.storage.entry import UnfinishedUpload
from pipeline.storage.folder import Folder
from pipeline.storage.other import ReadOnlyStore, file_system_of, version_of
from pipeline.storage.reading import read_uri
from pipeline.storage.uri import parse
from tests.faults.proxied import ProxiedBucket
from tests.storage.odd_names import ODD_NAMES

WRITES: dict[str, Callable[[ReadOnlyStore], object]] = {
    "require_writable": lambda store: store.require_writable(),
    "create": lambda store: store.create("b", b""),
    "writer": lambda store: store.writer("b"),
    "replace": lambda store: store.replace("a", b""),
    "delete": lambda store: store.delete("a"),
    "unfinished_uploads": lambda store: store.unfinished_uploads(),
    "abort_upload": lambda store: store.abort_upload(UnfinishedUpload("a", "token", 0.0)),
    "now_s": lambda store: store.now_s(),
}


def opened(uri: str) -> ReadOnlyStore:
    """A folder of fsspec's in-memory store."""
    return ReadOnlyStore(fsspec.filesystem("memory"), uri.removeprefix("memory:/").rstrip("/"), uri)


@pytest.mark.parametrize("verb", WRITES)
def test_writing_is_refused_before_anything_is_written(remote: str, verb: str):
    fsspec.filesystem("memory").pipe_file(f"{remote}/a", b"")
    with pytest.raises(ConfigError, match="feature sets go to local disk"):
        WRITES[verb](opened(remote))
    assert list(opened(remote).names("")) == ["a"]


def test_it_is_listed_and_read_like_a_local_one(remote: str):
    memory = fsspec.filesystem("memory")
    for name in [*(f"{odd}.jpg" for odd in ODD_NAMES), "z/deep/a.jpg", ".hidden"]:
        memory.pipe_file(f"{remote}/{name}", name.encode())
    store = opened(f"{remote}/")
    entries = list(store.files())
    assert store.is_folder()
    assert [entry.name for entry in entries] == sorted([*(f"{odd}.jpg" for odd in ODD_NAMES), "z/deep/a.jpg"])
    assert entries == list(opened(store.uri).files())
    for entry in entries:
        assert store.read(entry.name).decode() == entry.name
        assert store.size_bytes(entry.name) == entry.size_bytes == len(entry.name.encode())
        assert store.file(entry.name).size_bytes == entry.size_bytes
    with pytest.raises(FileNotFoundError):
        store.file("z/deep")
    with store.open("z/deep/a.jpg") as stream:
        stream.seek(2)
        assert stream.read() == b"deep/a.jpg"


def test_a_range_and_the_end_of_a_file_are_read_alone(remote: str):
    fsspec.filesystem("memory").pipe_file(f"{remote}/a", b"0123456789")
    store = opened(remote)
    assert store.read_range("a", 3, 6) == b"345"
    assert store.read_range("a", 8, 20) == b"89", "as many as there are"
    assert store.read_end("a", 4) == b"6789"
    assert store.read_end("a", 40) == b"0123456789"


def test_names_are_those_directly_in_a_folder(remote: str):
    for name in ("a", "deep/b", "deep/er/c"):
        fsspec.filesystem("memory").pipe_file(f"{remote}/{name}", b"")
    assert sorted(opened(remote).names("")) == ["a", "deep"]
    assert sorted(opened(remote).names("deep")) == ["b", "er"]
    assert list(opened(remote).names("nothing")) == []


def test_a_file_has_another_version_when_it_was_written_again(remote: str):
    store = fsspec.filesystem("memory")
    versions = []
    for _ in range(2):
        store.pipe_file(f"{remote}/a", b"same size")
        versions += [entry.version for entry in opened(remote).files()]
    assert len(set(versions)) == 2, versions


@pytest.mark.parametrize(
    ("item", "version"),
    [
        ({"size": 3, "ETag": '"abc"', "mtime": 7}, "abc"),
        ({"size": 3, "etag": "abc"}, "abc"),
        ({"size": 3, "mtime": 7}, "3@7"),
        ({"size": 3, "LastModified": "today"}, "3@today"),
        ({"size": 3, "created": 5}, "3@5"),
        ({"size": 3}, "3@"),
    ],
)
def test_a_version_is_what_the_store_has_to_say(item: dict[str, object], version: str):
    assert version_of(item) == version


def test_what_is_not_there_is_told_apart(remote: str):
    fsspec.filesystem("memory").pipe_file(f"{remote}/a", b"")
    assert not opened(f"{remote}-of-somebody-else").is_folder()
    for ask in (opened(remote).read, opened(remote).open, opened(remote).size_bytes):
        with pytest.raises(FileNotFoundError):
            ask("nothing")


def test_bytes_that_are_not_utf8_are_spelled_out(remote: str):
    fsspec.filesystem("memory").pipe_file(f"{remote}/{os.fsdecode(bytes([255]))}", b"")
    assert [entry.name for entry in opened(remote).files()] == [r"\xff"]


@pytest.mark.parametrize(
    ("uri", "package", "extra"), [("gs://bucket/photos", "gcsfs", "gcs"), ("az://container/photos", "adlfs", "azure")]
)
def test_a_store_whose_package_is_missing_says_what_to_install(uri: str, package: str, extra: str):
    if find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    for ask in (Folder, read_uri, lambda each: file_system_of(parse(each))):
        with pytest.raises(ConfigError, match=rf"{uri[:2]}:// needs {package} .*pip install 'sam2-embed\[{extra}\]'"):
            ask(uri)


def test_s3_through_fsspec_is_found_too(store: ProxiedBucket):
    store.direct.put_object(Bucket=store.bucket, Key="deep/a#b?c.pt", Body=b"123")
    file_system, path = file_system_of(parse(f"s3a://{store.bucket}/deep/a#b?c.pt"))
    assert file_system.cat_file(path) == b"123"

"""Other stores: listed and read like a folder on disk, and never written."""

import os
from collections.abc import Callable

import fsspec
import pytest

from pipeline.errors import ConfigError
from pipeline.storage.entry import UnfinishedUpload
from pipeline.storage.folder import Folder
from pipeline.storage.other import version_of
from pipeline.storage.reading import read_uri
from tests.storage.odd_names import ODD_NAMES

WRITES: dict[str, Callable[[Folder], object]] = {
    "require_writable": lambda folder: folder.require_writable(),
    "create": lambda folder: folder.create("b", b""),
    "writer": lambda folder: folder.writer("b"),
    "replace": lambda folder: folder.replace("a", b""),
    "delete": lambda folder: folder.delete("a"),
    "unfinished_uploads": lambda folder: folder.unfinished_uploads(),
    "abort_upload": lambda folder: folder.abort_upload(UnfinishedUpload("a", "token", 0.0)),
    "now_s": lambda folder: folder.now_s(),
}


@pytest.mark.parametrize("verb", WRITES)
def test_writing_is_refused_before_anything_is_written(remote: str, verb: str):
    fsspec.filesystem("memory").pipe_file(f"{remote}/a", b"")
    with pytest.raises(ConfigError, match="feature sets go to local disk"):
        WRITES[verb](Folder(remote))
    assert list(Folder(remote).names("")) == ["a"]


def test_it_is_listed_and_read_like_a_local_one(remote: str):
    store = fsspec.filesystem("memory")
    for name in [*(f"{odd}.jpg" for odd in ODD_NAMES), "z/deep/a.jpg", ".hidden"]:
        store.pipe_file(f"{remote}/{name}", name.encode())
    folder = Folder(f"{remote}/")
    entries = list(folder.files())
    assert folder.is_folder()
    assert not folder.is_local
    assert [entry.name for entry in entries] == sorted([*(f"{odd}.jpg" for odd in ODD_NAMES), "z/deep/a.jpg"])
    assert entries == list(Folder(folder.uri).files())
    for entry in entries:
        assert read_uri(folder.uri_of(entry.name)).decode() == entry.name
        assert folder.read(entry.name).decode() == entry.name
        assert folder.size_bytes(entry.name) == entry.size_bytes == len(entry.name.encode())
        assert folder.entry(entry.name) == entry
    with pytest.raises(FileNotFoundError):
        folder.entry("z/deep")
    with folder.open("z/deep/a.jpg") as stream:
        stream.seek(2)
        assert stream.read() == b"deep/a.jpg"


def test_names_are_those_directly_in_a_folder(remote: str):
    for name in ("a", "deep/b", "deep/er/c"):
        fsspec.filesystem("memory").pipe_file(f"{remote}/{name}", b"")
    assert sorted(Folder(remote).names("")) == ["a", "deep"]
    assert sorted(Folder(remote).names("deep")) == ["b", "er"]
    assert list(Folder(remote).names("nothing")) == []


def test_a_file_has_another_version_when_it_was_written_again(remote: str):
    store = fsspec.filesystem("memory")
    versions = []
    for _ in range(2):
        store.pipe_file(f"{remote}/a", b"same size")
        versions += [entry.version for entry in Folder(remote).files()]
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
    assert not Folder(f"{remote}-of-somebody-else").is_folder()
    for ask in (Folder(remote).read, Folder(remote).open, Folder(remote).size_bytes):
        with pytest.raises(FileNotFoundError):
            ask("nothing")


def test_bytes_that_are_not_utf8_are_spelled_out(remote: str):
    fsspec.filesystem("memory").pipe_file(f"{remote}/{os.fsdecode(bytes([255]))}", b"")
    assert [entry.name for entry in Folder(remote).files()] == [r"\xff"]

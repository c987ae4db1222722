"""Reading by URI: all the bytes, in the version that was listed, or an error that tells why not."""

import os
import socket
from pathlib import Path

import fsspec
import pytest

from pipeline.errors import ConfigError, StoreUnavailableError
from pipeline.storage.folder import Folder
from pipeline.storage.reading import FileChangedError, read_uri
from tests.faults.faults import Answer, Cut, Fault, Reset
from tests.faults.proxied import ProxiedBucket


def version(path: Path) -> str:
    """As it is listed."""
    return next(entry.version for entry in Folder(path.parent).files() if entry.name == path.name)


def test_an_unknown_scheme_is_a_configuration_error():
    with pytest.raises(ConfigError, match="no file system"):
        read_uri("nope://bucket/photos/a.jpg")


@pytest.mark.parametrize("spelling", ["{}", "file://{}"])
def test_a_file_in_its_listed_version_is_read(tmp_path: Path, spelling: str):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"123")
    uri = spelling.format(path)
    assert [read_uri(uri, version(path)), read_uri(uri), read_uri(uri, "")] == [b"123"] * 3


@pytest.mark.parametrize("spelling", ["{}", "file://{}"])
def test_a_file_that_changed_since_it_was_listed_is_told_apart(tmp_path: Path, spelling: str):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"123")
    listed = version(path)
    path.write_bytes(b"1234")
    with pytest.raises(FileChangedError, match=rf"it was {listed} when listed and is {version(path)} now"):
        read_uri(spelling.format(path), listed)
    assert read_uri(spelling.format(path)) == b"1234"
    path.write_bytes(b"321")
    os.utime(path, ns=(10**18, 10**18))
    with pytest.raises(FileChangedError):
        read_uri(spelling.format(path), listed)


def test_a_file_that_is_gone_is_not_one_that_changed(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        read_uri(str(tmp_path / "a.jpg"), "3@1.0")


def test_a_change_is_trouble_with_the_file_and_not_with_the_store():
    assert issubclass(FileChangedError, OSError)
    assert not issubclass(FileChangedError, ConnectionError | FileNotFoundError)


def test_a_name_that_only_looks_spelled_out_is_read_as_it_is(tmp_path: Path):
    folder = Folder(tmp_path)
    (tmp_path / r"\xff.jpg").write_bytes(b"plain")
    (entry,) = folder.files()
    assert read_uri(folder.uri_of(entry.name), entry.version) == b"plain"


def test_other_stores_do_not_look_at_versions(remote: str):
    fsspec.filesystem("memory").pipe_file(f"{remote}/a", b"123")
    assert read_uri(f"{remote}/a", "another") == b"123"
    with pytest.raises(FileNotFoundError):
        read_uri(f"{remote}/b")


def test_a_store_that_does_not_answer_is_a_connection_error():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectionError, match="ClientConnectorError"):
        read_uri(f"http://127.0.0.1:{port}/a.jpg")


# S3


def s3_version(store: ProxiedBucket) -> str:
    """The version in which the one object is listed."""
    (entry,) = Folder(f"s3://{store.bucket}").files()
    return entry.version


def test_an_object_in_its_listed_version_is_read(store: ProxiedBucket):
    store.direct.put_object(Bucket=store.bucket, Key="a b#c?d/é.jpg", Body=b"123")
    uri = f"s3://{store.bucket}/a b#c?d/é.jpg"
    assert [read_uri(uri, s3_version(store)), read_uri(uri), read_uri(uri, "")] == [b"123"] * 3


def test_an_object_that_changed_since_it_was_listed_is_told_apart(store: ProxiedBucket):
    store.direct.put_object(Bucket=store.bucket, Key="a.jpg", Body=b"123")
    listed = s3_version(store)
    store.direct.put_object(Bucket=store.bucket, Key="a.jpg", Body=b"321")
    with pytest.raises(FileChangedError, match=f"no longer {listed}"):
        read_uri(f"s3://{store.bucket}/a.jpg", listed)
    assert read_uri(f"s3://{store.bucket}/a.jpg") == b"321"
    store.direct.delete_object(Bucket=store.bucket, Key="a.jpg")
    with pytest.raises(FileNotFoundError):
        read_uri(f"s3://{store.bucket}/a.jpg", listed)


@pytest.mark.parametrize("fault", [Answer(503), Reset(), Cut()], ids=["503", "reset", "cut"])
def test_trouble_of_a_store_is_left_to_the_caller_to_wait_out(fault: Fault, store: ProxiedBucket):
    store.direct.put_object(Bucket=store.bucket, Key="a.jpg", Body=b"123")
    version = s3_version(store)
    store.proxy.install(fault)
    with pytest.raises(ConnectionError) as caught:
        read_uri(f"s3://{store.bucket}/a.jpg", version)
    assert not isinstance(caught.value, StoreUnavailableError)
    assert len(store.proxy.seen("GetObject")) <= 6, "three tries, each of which aiohttp may double"


@pytest.mark.parametrize(("start", "end"), [(0, None), (3, 7), (3, None), (0, 5), (8, 99)])
def test_a_range_is_what_a_slice_is(tmp_path: Path, store: ProxiedBucket, start: int, end: int | None):
    (tmp_path / "x").write_bytes(b"0123456789")
    store.put("x", b"0123456789")
    for uri in (str(tmp_path / "x"), f"s3://{store.bucket}/x"):
        assert read_uri(uri, start=start, end=end) == b"0123456789"[start:end], uri

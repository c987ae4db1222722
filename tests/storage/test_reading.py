"""Reading by URI: all the bytes, in the version that was listed, or an error that tells why not."""

import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import BadKeyError, StoreUnavailableError, UriError
from pipeline.storage.folder import Folder
from pipeline.storage.reading import FileChangedError, NotARegularFileError, read_uri
from pipeline.storage.roots import Roots
from pipeline.storage.trouble import FileTooLargeError, RangeNotThereError
from tests.faults.faults import Answer, Cut, Fault, Reset
from tests.faults.proxied import ProxiedBucket
from tests.web_server import LOOPBACK, WebServer, body


def version(path: Path) -> str:
    """As it is listed."""
    return next(entry.version for entry in Folder(path.parent).files() if entry.name == path.name)


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


# What is not read

# Every audited event of a process that only parses would be one too many.
GUARD = """
import sys
import fsspec
from pipeline.errors import UriError
from pipeline.storage.folder import Folder
from pipeline.storage.reading import read_uri
from pipeline.storage.roots import Roots
from pipeline.storage.uri import parse
seen = []
WATCHED = ("socket.", "import", "open", "os.system", "subprocess.", "exec")
sys.addaudithook(lambda event, args: seen.append((event, str(args)[:80])) if event.startswith(WATCHED) else None)
roots = Roots(("s3://bucket", "https://"))
asks = [parse, read_uri, Folder, lambda uri: read_uri(uri, roots=roots)]
for uri in sys.argv[1:]:
    for ask in asks:
        try:
            ask(uri)
        except UriError:
            continue
        raise SystemExit(f"{uri} was not refused")
for uri in ("/etc/passwd", "file:///etc/passwd", "s3://other-bucket/x", "s3://bucket/../other/x", "http://127.0.0.1/x"):
    try:
        read_uri(uri, roots=roots)
    except UriError:
        continue
    raise SystemExit(f"{uri} was not refused")
raise SystemExit(str(seen) if seen else 0)
"""
FORBIDDEN = [
    "simplecache::file:///etc/passwd",
    "filecache::s3://bucket/x",
    "zip://x::file:///etc/passwd",
    "tar://x::s3://bucket/y.tar",
    "dir::/etc",
    "async_wrapper::file:///etc/passwd",
    "reference://::http://127.0.0.1:9/r.json",
    "blockcache://127.0.0.1/x",
    "github://org:repo@/x",
    "git://x",
    "hf://datasets/a/b",
    "data:,abc",
    "data:image/png;base64,AAAA",
    "memory://x/y",
    "ftp://127.0.0.1/x",
    "sftp://127.0.0.1/x",
    "ssh://127.0.0.1/x",
    "smb://127.0.0.1/x",
    "webhdfs://127.0.0.1/x",
    "hdfs://127.0.0.1/x",
    "jupyter://127.0.0.1/x",
    "dask://x",
    "generic://x",
    "local:///etc/passwd",
    "file://host/share",
]


def test_a_forbidden_uri_opens_imports_and_asks_nothing():
    done = subprocess.run(
        [sys.executable, "-c", GUARD, *FORBIDDEN], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("uri", ["https://images.example/a.jpg", "http://127.0.0.1/a.jpg"])
def test_the_web_is_off_unless_a_root_allows_it(uri: str):
    with pytest.raises(UriError, match="the web is read only below roots"):
        read_uri(uri)
    with pytest.raises(UriError, match="below no root"):
        read_uri(uri, roots=Roots(("s3://bucket", "/data")))


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/", "gs://bucket", "az://container/"])
def test_a_bucket_is_no_object(uri: str):
    with pytest.raises(UriError, match="names no object"):
        read_uri(uri)


# Disks


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A root with a file inside, and a secret outside."""
    (tmp_path / "photos/deep").mkdir(parents=True)
    (tmp_path / "photos/deep/a.jpg").write_bytes(b"inside")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/a.jpg").write_bytes(b"secret")
    return tmp_path / "photos"


def test_files_below_a_root_are_read_links_among_them_too(photos: Path):
    (photos / "link.jpg").symlink_to("deep/a.jpg")
    (photos.parent / "alias").symlink_to(photos)
    for root, uri in [
        (photos, f"{photos}/deep/a.jpg"),
        (photos, f"file://{photos}/link.jpg"),
        (photos, f"{photos}/deep/../link.jpg"),
        (photos.parent / "alias", f"{photos.parent}/alias/link.jpg"),
        (photos / "deep/a.jpg", f"{photos}/deep/a.jpg"),
    ]:
        assert read_uri(uri, roots=Roots((str(root),))) == b"inside"


def test_links_that_lead_out_of_a_root_are_not_followed(photos: Path):
    (photos / "file.jpg").symlink_to(photos.parent / "outside/a.jpg")
    (photos / "folder").symlink_to(photos.parent / "outside")
    (photos / "etc").symlink_to("/etc")
    (photos / "twice").symlink_to("folder")
    (photos / "deep/up").symlink_to("../..")
    for name in ("file.jpg", "folder/a.jpg", "etc/passwd", "twice/a.jpg", "deep/up/outside/a.jpg"):
        assert read_uri(f"{photos}/{name}"), "it is there"
        with pytest.raises(UriError, match="below no root"):
            read_uri(f"{photos}/{name}", roots=Roots((str(photos),)))


SWAP = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
one, other = (os.fsencode(each) for each in sys.argv[1:])
parent = os.getppid()
while os.getppid() == parent:
    assert libc.renameat2(-100, one, -100, other, 2) == 0, os.strerror(ctypes.get_errno())
"""


def test_a_folder_that_is_swapped_for_a_link_while_it_is_read_leads_nowhere(photos: Path):
    (photos.parent / "link").symlink_to(photos.parent / "outside")
    roots, seen = Roots((str(photos),)), Counter[object]()
    swapper = subprocess.Popen([sys.executable, "-c", SWAP, str(photos / "deep"), str(photos.parent / "link")])
    try:
        while min(seen["refused"], seen[b"inside"]) < 200:
            assert swapper.poll() is None
            try:
                seen[read_uri(f"{photos}/deep/a.jpg", roots=roots)] += 1
            except UriError:
                seen["refused"] += 1
    finally:
        swapper.kill()
        swapper.wait()
    assert set(seen) == {"refused", b"inside"}


@pytest.mark.parametrize("kind", ["pipe", "zeros", "socket", "folder"])
def test_what_never_ends_is_refused_at_once(kind: str, photos: Path):
    path = photos / "odd.jpg"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "zeros":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.relpath(path))
    with pytest.raises(IsADirectoryError if kind == "folder" else NotARegularFileError):
        read_uri(str(path))


def test_a_name_longer_than_a_disk_has_is_a_bad_key(photos: Path):
    for name in ("x" * 256, "x/" * 2500):
        with pytest.raises(BadKeyError, match="longer than a name or a path"):
            read_uri(f"{photos}/{name}")


# Parts of files, and how much of them


@pytest.fixture(params=["disk", "bucket", "web"])
def ten(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Roots]]:
    """A file of ten bytes on each kind of place, and the roots it is below."""
    data = b"0123456789"
    if request.param == "disk":
        (tmp_path / "a").write_bytes(data)
        yield f"{tmp_path}/a", Roots((str(tmp_path),))
    elif request.param == "bucket":
        store = request.getfixturevalue("store")
        store.direct.put_object(Bucket=store.bucket, Key="deep/a", Body=data)
        yield f"s3://{store.bucket}/deep/a", Roots((f"s3://{store.bucket}/deep",))
    else:
        with WebServer({"/deep/a": body(data)}) as server:
            root = f"http://127.0.0.1:{server.port}/deep"
            yield f"{root}/a", Roots((root,), LOOPBACK)


def test_a_part_of_a_file_is_exactly_that_part(ten: tuple[str, Roots]):
    uri, roots = ten
    assert read_uri(uri, roots=roots) == b"0123456789"
    assert read_uri(uri, roots=roots, start=3, end=6) == b"345"
    assert read_uri(uri, roots=roots, start=0, end=1) == b"0"
    assert read_uri(uri, roots=roots, start=7) == b"789"
    assert read_uri(uri, roots=roots, end=10, max_bytes=10) == b"0123456789"


@pytest.mark.parametrize(("start", "end"), [(8, 11), (10, 11), (10, None), (5, 5), (6, 5), (-1, 3), (0, 10**18)])
def test_a_part_that_is_not_there_is_never_a_shorter_one(ten: tuple[str, Roots], start: int, end: int | None):
    uri, roots = ten
    with pytest.raises(RangeNotThereError):
        read_uri(uri, roots=roots, start=start, end=end)


def test_no_more_is_read_than_allowed(ten: tuple[str, Roots]):
    uri, roots = ten
    assert read_uri(uri, roots=roots, max_bytes=10) == b"0123456789"
    assert read_uri(uri, roots=roots, start=3, max_bytes=7) == b"3456789"
    for part in ({}, {"start": 0, "end": 10}, {"end": 10**18}):
        with pytest.raises(FileTooLargeError, match="9 are allowed"):
            read_uri(uri, roots=roots, max_bytes=9, **part)


def test_a_file_that_hides_its_size_is_left_in_the_middle():
    assert Path("/proc/self/status").stat().st_size == 0
    with pytest.raises(FileTooLargeError, match="it has 101 bytes, 100 are allowed"):
        read_uri("/proc/self/status", max_bytes=100)


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


LITERAL_KEYS = [
    *("%2e%2e/x", "%00", "%2F", "a#b?c.jpg", "a+b c.jpg", "[0-9]*.jpg", "a::b", "~a", "{a,b}", "é.jpg", "e\u0301.jpg"),
    *("É.jpg", "../other/x", "./x", "a//b", "http://images.example/x", "?versionId=1", "a\\b", "$HOME"),
]


def test_a_key_is_the_name_of_one_object_whatever_is_in_it(store: ProxiedBucket):
    for key in [*LITERAL_KEYS, "1.jpg", "other/x", "x", "a b c.jpg", "a", "/", "b"]:
        store.direct.put_object(Bucket=store.bucket, Key=key, Body=key.encode())
    roots = Roots((f"s3://{store.bucket}",))
    for key in LITERAL_KEYS:
        assert read_uri(f"s3://{store.bucket}/{key}") == key.encode()
        if ".." in key.split("/"):
            with pytest.raises(UriError, match=r"\.\. leads nowhere"):
                read_uri(f"s3://{store.bucket}/{key}", roots=roots)
        else:
            assert read_uri(f"S3A://{store.bucket}/{key}", roots=roots) == key.encode()


def test_a_part_of_an_object_in_its_listed_version_is_one_request(store: ProxiedBucket):
    store.direct.put_object(Bucket=store.bucket, Key="a.tar", Body=b"0123456789")
    uri, listed = f"s3://{store.bucket}/a.tar", s3_version(store)
    store.proxy.forget()
    assert read_uri(uri, listed, start=3, end=6, max_bytes=3) == b"345"
    assert [seen.headers["range"] for seen in store.proxy.requests] == ["bytes=3-5"]
    store.direct.put_object(Bucket=store.bucket, Key="a.tar", Body=b"9876543210")
    with pytest.raises(FileChangedError):
        read_uri(uri, listed, start=3, end=6)

"""A folder by its URI: every spelling of a place is that place, and the verbs are those of its store."""

import pickle
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.storage.folder import Folder
from pipeline.storage.reading import read_uri
from pipeline.storage.trouble import PATIENCE_S
from tests.faults.proxied import ProxiedBucket


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("nope://bucket/photos", r"nope://bucket/photos: nope: is no scheme"),
        ("memory://bucket/photos", "is no scheme"),
        ("zip://::/data/photos.zip", "is no scheme"),
        ("https://images.example/photos", "a web server has no folders"),
        ("file://host/photos", "files of another machine"),
    ],
)
def test_what_is_no_folder_is_a_configuration_error(uri: str, said: str):
    with pytest.raises(ConfigError, match=said):
        Folder(uri)


def test_a_relative_path_starts_at_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(b"a")
    monkeypatch.chdir(tmp_path)
    folder = Folder("photos")
    monkeypatch.chdir("/")
    assert folder.uri == f"{tmp_path}/photos"
    assert read_uri(folder.uri_of("a.jpg")) == b"a"


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Folder("~/features").uri == str(tmp_path / "features")


@pytest.mark.parametrize("spelling", ["{}", "{}/", "file://{}", "file://{}/", "{}/deep/..", "file://{}/deep/.."])
def test_every_spelling_of_a_folder_lists_the_same(tmp_path: Path, spelling: str):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/a.jpg").write_bytes(b"a")
    folder = Folder(spelling.format(tmp_path))
    assert folder.is_folder()
    assert folder.is_local
    assert [entry.name for entry in folder.files()] == ["deep/a.jpg"]
    assert read_uri(folder.uri_of("deep/a.jpg")) == b"a"


@pytest.mark.parametrize("uri", ["/", "file:///"])
def test_the_root_is_a_folder_too(uri: str):
    folder = Folder(uri)
    assert folder.uri == "/"
    assert "proc" in list(folder.names(""))


@pytest.mark.parametrize(
    ("given", "uri"),
    [
        ("s3://a-bucket/photos/", "s3://a-bucket/photos"),
        ("s3a://a-bucket/photos", "s3://a-bucket/photos"),
        ("s3://a-bucket/", "s3://a-bucket"),
        ("s3://a-bucket/a b#c?d/é", "s3://a-bucket/a b#c?d/é"),
        ("S3://a-bucket/Photos/", "s3://a-bucket/Photos"),
    ],
)
def test_a_remote_folder_names_its_files_below_itself(given: str, uri: str):
    folder = Folder(given)
    assert folder.uri == uri
    assert not folder.is_local
    assert folder.uri_of("a.jpg") == f"{uri}/a.jpg"


@pytest.mark.parametrize("uri", ["s3://", "s3:///photos"])
def test_a_uri_without_a_bucket_is_a_configuration_error(uri: str):
    with pytest.raises(ConfigError, match="names no bucket"):
        Folder(uri)


def test_a_folder_knows_how_patient_it_is(tmp_path: Path):
    assert Folder(tmp_path).patience_s == PATIENCE_S
    assert Folder("s3://a-bucket", 7.0).patience_s == 7.0


@pytest.mark.parametrize("uri", ["/data/photos", "s3://a-bucket/photos"])
def test_a_folder_goes_to_other_processes(uri: str):
    arrived = pickle.loads(pickle.dumps(Folder(uri, 7.0)))  # noqa: S301
    assert (arrived.uri, arrived.patience_s) == (uri, 7.0)


@pytest.mark.parametrize("kind", ["disk", "bucket"])
def test_a_range_and_the_end_of_a_file_are_read_alone(kind: str, tmp_path: Path, request: pytest.FixtureRequest):
    place = tmp_path if kind == "disk" else f"s3://{request.getfixturevalue('store').bucket}/set"
    folder = Folder(place)
    folder.create("a", b"0123456789")
    assert folder.read_range("a", 3, 6) == b"345"
    assert folder.read_range("a", 8, 20) == b"89", "as many as there are"
    assert folder.read_end("a", 4) == b"6789"
    assert folder.read_end("a", 40) == b"0123456789"
    for ask in (lambda: folder.read_range("b", 0, 1), lambda: folder.read_end("b", 1)):
        with pytest.raises(FileNotFoundError):
            ask()


def test_ranges_of_an_object_are_one_request_each(store: ProxiedBucket):
    folder = Folder(f"s3://{store.bucket}")
    folder.create("a", b"0123456789")
    store.proxy.forget()
    folder.read_range("a", 3, 6)
    folder.read_end("a", 4)
    ranges = [seen.headers["range"] for seen in store.proxy.requests]
    assert ranges == ["bytes=3-5", "bytes=-4"]


@pytest.mark.parametrize("kind", ["disk", "bucket"])
def test_a_file_by_its_name_is_what_a_listing_says_of_it(kind: str, tmp_path: Path, request: pytest.FixtureRequest):
    if kind == "bucket":
        store = request.getfixturevalue("store")
        store.direct.put_object(Bucket=store.bucket, Key="photos/deep/a.jpg", Body=b"abc")
        folder = Folder(f"s3://{store.bucket}/photos")
    else:
        (tmp_path / "deep").mkdir()
        (tmp_path / "deep/a.jpg").write_bytes(b"abc")
        folder = Folder(tmp_path)
    assert [folder.file("deep/a.jpg")] == list(folder.files())
    for name in ("deep", "deep/b.jpg"):
        with pytest.raises(FileNotFoundError):
            folder.file(name)

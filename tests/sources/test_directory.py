"""Directory source: the same input gives the same refs in the same order, named by their paths."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from pipeline.errors import AccessDeniedError, SourceError
from pipeline.sources.directory import IMAGE_SUFFIXES, DirectorySource
from pipeline.sources.image_ref import ImageRef
from pipeline.sources.opening import open_source
from pipeline.storage import read_uri
from tests.privileges import without_privileges

FILES = ["b.jpg", "a.PNG", "cats/1.jpeg", "cats/deep/2.tiff", "notes.txt", "cats/labels.json", ".thumb.jpg", "jpg"]
IMAGES = ["a.PNG", "b.jpg", "cats/1.jpeg", "cats/deep/2.tiff"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of files that hold their own names."""
    for name in FILES:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "photos"


@pytest.fixture
def remote_photos() -> Iterator[str]:
    """The same folder in fsspec's in-memory store."""
    store, bucket = fsspec.filesystem("memory"), uuid.uuid4().hex
    for name in FILES:
        store.pipe_file(f"/{bucket}/photos/{name}", name.encode())
    yield f"memory://{bucket}/photos"
    store.rm(f"/{bucket}", recursive=True)


def ids(source: DirectorySource) -> list[str]:
    return [ref.image_id for ref in source.refs()]


def test_listing_is_repeatable_same_refs_same_order(photos: Path):
    source = DirectorySource(str(photos))
    first = list(source.refs())
    assert [ref.image_id for ref in first] == IMAGES
    assert list(source.refs()) == first
    assert list(DirectorySource(str(photos)).refs()) == first


@pytest.mark.parametrize("spelling", ["{}", "{}/", "file://{}", "file://{}/", "{}/cats/..", "file://{}/cats/.."])
def test_an_image_id_is_the_path_below_the_folder_however_that_is_spelled(photos: Path, spelling: str):
    source = DirectorySource(spelling.format(photos))
    assert ids(source) == IMAGES
    for ref in source.refs():
        assert read_uri(ref.uri).decode() == ref.image_id


def test_a_relative_folder_gives_uris_that_hold_anywhere(photos: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(photos.parent)
    source = DirectorySource("photos")
    monkeypatch.chdir("/")
    assert [ref.uri for ref in source.refs()] == [f"{photos}/{name}" for name in IMAGES]
    assert source.description["uri"] == str(photos)


def test_a_remote_folder_gives_the_same_ids_as_a_local_one(remote_photos: str):
    source = DirectorySource(remote_photos)
    assert ids(source) == IMAGES
    assert source.num_ignored == 3
    for ref in source.refs():
        assert ref.uri.startswith("memory://")
        assert read_uri(ref.uri).decode() == ref.image_id


def test_files_of_other_suffixes_are_counted_not_listed(photos: Path):
    source = DirectorySource(str(photos))
    assert source.num_ignored == 0
    for _ in range(2):  # a second listing counts anew
        assert ids(source) == IMAGES
        assert source.num_ignored == 3


def test_chosen_suffixes_select_and_none_takes_every_file(photos: Path):
    only = DirectorySource(str(photos), suffixes=(".json", ".txt"))
    assert ids(only) == ["cats/labels.json", "notes.txt"]
    assert only.num_ignored == 5
    every = DirectorySource(str(photos), suffixes=None)
    assert ids(every) == sorted(name for name in FILES if name != ".thumb.jpg")
    assert every.num_ignored == 0


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_every_usual_image_suffix_is_taken_in_any_case(tmp_path: Path, suffix: str):
    (tmp_path / f"x{suffix}").touch()
    (tmp_path / f"y{suffix.upper()}").touch()
    assert ids(DirectorySource(str(tmp_path))) == [f"x{suffix}", f"y{suffix.upper()}"]


def test_a_ref_has_another_version_when_its_file_has_changed(photos: Path):
    before = {ref.image_id: ref.version for ref in DirectorySource(str(photos)).refs()}
    os.utime(photos / "b.jpg", ns=(10**18, 10**18))
    (photos / "a.PNG").write_text("longer than before")
    after = {ref.image_id: ref.version for ref in DirectorySource(str(photos)).refs()}
    assert {name for name in IMAGES if before[name] != after[name]} == {"a.PNG", "b.jpg"}


def test_a_ref_tells_the_size_and_nothing_is_opened(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(bytes(123))
    (tmp_path / "broken.jpg").symlink_to("nowhere")
    refs = list(DirectorySource(str(tmp_path)).refs())
    assert [(ref.image_id, ref.size_bytes) for ref in refs] == [("a.jpg", 123), ("broken.jpg", 0)]
    assert isinstance(refs[0], ImageRef)


def test_the_description_is_what_makes_two_sources_the_same(photos: Path):
    assert DirectorySource(f"file://{photos}/").description == DirectorySource(str(photos)).description
    assert DirectorySource(str(photos), None).description != DirectorySource(str(photos)).description
    assert DirectorySource(str(photos), (".jpg",)).description == {
        "kind": "directory",
        "uri": str(photos),
        "suffixes": [".jpg"],
    }


def test_an_empty_folder_has_no_refs(tmp_path: Path):
    assert ids(DirectorySource(str(tmp_path))) == []


def test_a_missing_folder_is_a_source_error_naming_it(tmp_path: Path, remote_photos: str):
    with pytest.raises(SourceError, match=f"source.uri={tmp_path}/nope: there is no folder"):
        DirectorySource(f"{tmp_path}/nope")
    with pytest.raises(SourceError, match="there is no folder"):
        DirectorySource(f"{remote_photos}/nope")


def test_a_file_is_no_folder(photos: Path):
    with pytest.raises(SourceError, match="there is no folder"):
        DirectorySource(str(photos / "b.jpg"))


def test_a_folder_without_permission_is_access_denied(photos: Path):
    source = DirectorySource(str(photos))
    (photos / "cats").chmod(0o000)
    with without_privileges(), pytest.raises(AccessDeniedError, match="no permission to list"):
        list(source.refs())
    (photos / "cats").chmod(0o700)


def test_open_source_finds_a_directory_by_its_kind(photos: Path):
    source = open_source("directory", str(photos), (".jpg",))
    assert isinstance(source, DirectorySource)
    assert [ref.image_id for ref in source.refs()] == ["b.jpg"]

"""Directory source: the same input gives the same refs in the same order, named by their paths."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import AccessDeniedError, SourceError, StoreUnavailableError
from pipeline.sources.directory import IMAGE_SUFFIXES, DirectorySource
from pipeline.sources.image_ref import REFS, REFS_AT_ONCE
from pipeline.sources.opening import open_source
from pipeline.storage.reading import read_uri
from tests.faults.faults import Answer, Fault, Reset
from tests.faults.listings import RepeatPage, SmallPages
from tests.faults.proxied import ProxiedBucket
from tests.privileges import without_file_handles, without_privileges

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


def refs(source: DirectorySource) -> list[dict[str, Any]]:
    """All refs, one by one."""
    return [ref for batch in source.refs() for ref in batch.to_pylist()]


def ids(source: DirectorySource) -> list[str]:
    return [ref["image_id"] for ref in refs(source)]


def test_listing_is_repeatable_same_refs_same_order(photos: Path):
    source = DirectorySource(str(photos))
    first = refs(source)
    assert [ref["image_id"] for ref in first] == IMAGES
    assert refs(source) == first
    assert refs(DirectorySource(str(photos))) == first


@pytest.mark.parametrize("spelling", ["{}", "{}/", "file://{}", "file://{}/", "{}/cats/..", "file://{}/cats/.."])
def test_an_image_id_is_the_path_below_the_folder_however_that_is_spelled(photos: Path, spelling: str):
    source = DirectorySource(spelling.format(photos))
    assert ids(source) == IMAGES
    for ref in refs(source):
        assert read_uri(ref["uri"], ref["version"]).decode() == ref["image_id"]


def test_a_relative_folder_gives_uris_that_hold_anywhere(photos: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(photos.parent)
    source = DirectorySource("photos")
    monkeypatch.chdir("/")
    assert [ref["uri"] for ref in refs(source)] == [f"{photos}/{name}" for name in IMAGES]
    assert source.description["uri"] == str(photos)


def test_a_bucket_gives_the_same_ids_as_a_folder_and_the_versions_of_its_objects(store: ProxiedBucket):
    for name in FILES:
        store.direct.put_object(Bucket=store.bucket, Key=f"photos/{name}", Body=name.encode())
    source = DirectorySource(f"s3://{store.bucket}/photos/")
    assert ids(source) == IMAGES
    assert source.num_ignored == 3
    for ref in refs(source):
        assert ref["uri"] == f"s3://{store.bucket}/photos/{ref['image_id']}"
        assert read_uri(ref["uri"], ref["version"]).decode() == ref["image_id"]


def test_refs_come_in_arrow_batches_of_a_bounded_size(folder_in_memory: Path):
    count = REFS_AT_ONCE + 2
    for number in range(count):
        os.mknod(folder_in_memory / f"{number:06d}.jpg", stat.S_IFREG | 0o600)
    found = list(DirectorySource(str(folder_in_memory)).refs())
    assert all(batch.schema.equals(REFS) for batch in found)
    assert [batch.num_rows for batch in found] == [REFS_AT_ONCE, 2]
    assert found[1]["image_id"].to_pylist() == [f"{count - 2:06d}.jpg", f"{count - 1:06d}.jpg"]


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
    before = {ref["image_id"]: ref["version"] for ref in refs(DirectorySource(str(photos)))}
    os.utime(photos / "b.jpg", ns=(10**18, 10**18))
    (photos / "a.PNG").write_text("longer than before")
    after = {ref["image_id"]: ref["version"] for ref in refs(DirectorySource(str(photos)))}
    assert {name for name in IMAGES if before[name] != after[name]} == {"a.PNG", "b.jpg"}


def test_a_ref_tells_the_size_and_nothing_is_opened(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(bytes(123))
    (tmp_path / "broken.jpg").symlink_to("nowhere")
    found = refs(DirectorySource(str(tmp_path)))
    assert [(ref["image_id"], ref["size_bytes"]) for ref in found] == [("a.jpg", 123), ("broken.jpg", len("nowhere"))]


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


def test_a_missing_folder_is_a_source_error_naming_it(tmp_path: Path, store: ProxiedBucket):
    with pytest.raises(SourceError, match=f"source.uri={tmp_path}/nope: there is no folder"):
        DirectorySource(f"{tmp_path}/nope")
    with pytest.raises(SourceError, match="there is no folder"):
        DirectorySource(f"s3://{store.bucket}/nope")


def test_a_file_is_no_folder(photos: Path):
    with pytest.raises(SourceError, match="there is no folder"):
        DirectorySource(str(photos / "b.jpg"))


def test_a_folder_without_permission_is_access_denied(photos: Path):
    source = DirectorySource(str(photos))
    (photos / "cats").chmod(0o000)
    with without_privileges(), pytest.raises(AccessDeniedError, match="no permission to list"):
        list(source.refs())
    (photos / "cats").chmod(0o700)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Answer(503), StoreUnavailableError),
        (Reset(), StoreUnavailableError),
        (RepeatPage(), StoreUnavailableError),
        (Answer(403), AccessDeniedError),
        (Answer(403, "ExpiredToken"), AccessDeniedError),
        (Answer(404, "NoSuchBucket"), SourceError),
    ],
    ids=["503", "reset", "a page twice", "denied", "expired", "no bucket"],
)
def test_what_a_store_does_to_a_listing_is_told_by_what_can_be_done_about_it(
    fault: Fault, error: type[Exception], store: ProxiedBucket
):
    for name in IMAGES:
        store.direct.put_object(Bucket=store.bucket, Key=f"photos/{name}", Body=b"")
    store.proxy.install(SmallPages(2))
    uri = f"s3://{store.bucket}/photos"
    source = DirectorySource(uri, patience_s=0.1)
    store.proxy.install(fault)
    with pytest.raises(error, match=f"s3://{store.bucket}"):
        ids(source)
    if not isinstance(fault, RepeatPage):
        with pytest.raises(error, match=f"s3://{store.bucket}"):
            DirectorySource(uri, patience_s=0.1)


def test_open_source_finds_a_directory_by_its_kind(photos: Path):
    source = open_source("directory", uri=str(photos), suffixes=(".jpg",))
    assert isinstance(source, DirectorySource)
    assert ids(source) == ["b.jpg"]


def test_a_machine_that_can_open_nothing_more_is_not_the_folders_fault(photos: Path):
    source = DirectorySource(str(photos))
    with pytest.raises(StoreUnavailableError, match=r"photos cannot be listed: Too many open"), without_file_handles():
        refs(source)
    assert ids(source) == IMAGES

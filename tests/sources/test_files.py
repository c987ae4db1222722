"""The files of a source: one by its name, or all below a folder, wherever they are."""

import errno
import os
from pathlib import Path

import pytest

from pipeline.errors import AccessDeniedError, SourceError, StoreUnavailableError
from pipeline.sources.files import SourceFiles, place_errors, source_errors
from tests.faults.faults import Answer
from tests.faults.proxied import ProxiedBucket
from tests.privileges import without_file_handles

NAMES = ["b/1.tar", "b/2.TAR", "c.tar"]


@pytest.fixture(params=["disk", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder or prefix with three shards and a file of another kind."""
    if request.param == "disk":
        for name in [*NAMES, "b/note.txt"]:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(name.encode())
        return str(tmp_path)
    store = request.getfixturevalue("store")
    for name in [*NAMES, "b/note.txt"]:
        store.direct.put_object(Bucket=store.bucket, Key=f"shards/{name}", Body=name.encode())
    return f"s3://{store.bucket}/shards"


def test_all_files_of_the_suffix_at_any_depth_in_order(place: str):
    files = SourceFiles(place, (".tar",), 1.0)
    found = list(files)
    assert [(each.name, each.uri, each.size_bytes) for each in found] == [(n, f"{place}/{n}", len(n)) for n in NAMES]
    assert all(each.version for each in found)
    assert files.num_others == 1
    assert list(files) == found


def test_suffixes_are_taken_in_any_case_and_none_takes_every_file(place: str):
    assert [each.name for each in SourceFiles(place, (".Tar",), 1.0)] == NAMES
    assert [each.name for each in SourceFiles(place, None, 1.0)] == sorted([*NAMES, "b/note.txt"])
    assert [each.name for each in SourceFiles(f"{place}/b/note.txt", None, 1.0)] == ["note.txt"]
    assert list(SourceFiles(place, (), 1.0)) == []


def test_one_file_is_what_the_listing_of_its_folder_says_of_it(place: str):
    whole = {each.uri: each for each in SourceFiles(place, (".tar",), 1.0)}
    (only,) = SourceFiles(f"{place}/b/1.tar", (".tar",), 1.0)
    listed = whole[f"{place}/b/1.tar"]
    assert (only.name, only.uri, only.version, only.size_bytes) == ("1.tar", listed.uri, listed.version, 7)


def test_a_folder_may_be_named_like_a_file(tmp_path: Path):
    (tmp_path / "x.tar").mkdir()
    (tmp_path / "x.tar/a.tar").touch()
    assert [each.name for each in SourceFiles(str(tmp_path / "x.tar"), (".tar",), 1.0)] == ["a.tar"]


def test_a_place_that_is_not_there_is_a_source_error(place: str):
    for name in ("nowhere", "nowhere.tar"):
        with pytest.raises(SourceError, match=f"there is no file or folder {place}/{name}"):
            SourceFiles(f"{place}/{name}", (".tar",), 1.0)


def test_a_place_that_may_not_be_listed_or_does_not_answer_says_so(store: ProxiedBucket):
    store.direct.put_object(Bucket=store.bucket, Key="shards/a.tar", Body=b"a")
    for status, error in ((403, AccessDeniedError), (503, StoreUnavailableError)):
        store.proxy.install(Answer(status))
        with pytest.raises(error):
            SourceFiles(f"s3://{store.bucket}/shards", (".tar",), 0.1)
        store.proxy.clear()


@pytest.mark.parametrize(
    ("error", "ours", "said"),
    [
        (OSError("broken"), SourceError, "/x cannot be listed: broken"),
        (OSError(errno.EIO, os.strerror(errno.EIO)), StoreUnavailableError, "/x cannot be listed: Input/output error"),
        (OSError(errno.ESTALE, os.strerror(errno.ESTALE)), StoreUnavailableError, "/x cannot be listed: Stale"),
        (PermissionError(errno.EACCES, "no"), AccessDeniedError, "no permission to list /x: no"),
        (StoreUnavailableError("/x is gone"), StoreUnavailableError, "^/x is gone$"),
    ],
)
def test_errors_of_a_source_name_the_place(error: OSError, ours: type[Exception], said: str):
    with pytest.raises(ours, match=said), source_errors("/x"):
        raise error
    with pytest.raises(type(error) if ours is SourceError else ours) as caught, place_errors("/x", "list"):
        raise error
    assert (caught.value is error) == (ours is SourceError or type(error) is ours)


def test_a_machine_that_can_open_nothing_more_is_not_the_sources_fault(tmp_path: Path):
    (tmp_path / "a.tar").touch()
    files = SourceFiles(str(tmp_path), (".tar",), 1.0)
    with pytest.raises(StoreUnavailableError, match="Too many open files"), without_file_handles():
        list(files)
    assert len(list(files)) == 1

"""Reading: damage, missing permission and a store in trouble are three things, and are never taken for each other."""

from pathlib import Path

import pytest

from pipeline.errors import AccessDeniedError, StoreUnavailableError
from pipeline.maintenance.reading import read_patiently, table_problem
from pipeline.storage.folder import Folder
from tests.damaging import manifest_of, path_of
from tests.faults.faults import Answer, FlipBit, Reset
from tests.faults.proxied import ProxiedBucket
from tests.privileges import without_privileges
from tests.small_set import SmallSet, flip_byte


def test_a_table_with_its_bytes_has_no_problem(small: SmallSet):
    assert table_problem(small.root, small.embed([["a"]]).index) is None


def test_a_missing_a_cut_and_a_flipped_table_are_told_apart(small: SmallSet):
    index = small.embed([["a"]]).index
    path = path_of(small, index.name)
    whole = path.read_bytes()
    flip_byte(path, len(whole) // 2)
    assert table_problem(small.root, index) == ("has other bytes than were written: its sha256 is not the recorded one")
    path.write_bytes(whole[:-1])
    assert table_problem(small.root, index) == f"has {len(whole) - 1} bytes, its record says {len(whole)}"
    path.unlink()
    assert table_problem(small.root, index) == "is missing"


def test_what_may_not_be_read_is_not_called_damaged(small: SmallSet):
    index = small.embed([["a"]]).index
    path_of(small, index.name).chmod(0)
    with without_privileges(), pytest.raises(AccessDeniedError, match=f"no permission to read .*{index.name}"):
        table_problem(small.root, index)


def test_what_the_disk_cannot_give_is_an_error_of_the_operating_system(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    folder = Folder(tmp_path)
    with pytest.raises(IsADirectoryError):
        read_patiently(folder, "folder", lambda: folder.read("folder"))


@pytest.mark.parametrize("fault", [Answer(503, first=2), Reset(first=2, operation="GetObject"), FlipBit(first=1)])
def test_trouble_on_the_way_is_not_damage_over_there(store: ProxiedBucket, fault):
    remote = SmallSet(f"s3://{store.bucket}/set", maps=())
    index = remote.embed([["a"]]).index
    store.proxy.install(fault)
    assert table_problem(Folder(remote.uri, 30.0), index) is None
    assert fault.fired


def test_a_store_that_stays_in_trouble_is_unavailable(store: ProxiedBucket):
    remote = SmallSet(f"s3://{store.bucket}/set", maps=())
    index = remote.embed([["a"]]).index
    store.proxy.install(Answer(503, operation="(Get|Head)Object"))
    with pytest.raises(StoreUnavailableError, match=index.name):
        table_problem(Folder(remote.uri, 0.5), index)


def test_a_remote_table_that_is_gone_is_missing(store: ProxiedBucket):
    remote = SmallSet(f"s3://{store.bucket}/set", maps=())
    manifest = remote.embed([["a"]])
    assert manifest == manifest_of(remote, 1)
    remote.root.delete(manifest.index.name)
    assert table_problem(remote.root, manifest.index) == "is missing"

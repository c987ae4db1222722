"""What does not fit on a disk is refused with what is needed and what there is; nothing is made to find out."""

import os

import pytest

from pipeline.errors import SinkError
from pipeline.forecast.disk import Room
from pipeline.storage.folder import Folder


def test_the_room_is_that_of_the_nearest_folder_that_is_there(tmp_path):
    room = Room.of(Folder(tmp_path / "not" / "there"))
    found = os.statvfs(tmp_path)
    assert room.free_bytes == pytest.approx(found.f_bavail * found.f_frsize, rel=0.2)  # others write here too
    assert list(tmp_path.iterdir()) == []
    room.require(1, 1)


def test_too_few_bytes_and_too_few_names_are_told_apart():
    room = Room("/data/features", free_bytes=10**9, free_files=1_000)
    room.require(10**9, 1_000)
    with pytest.raises(SinkError, match=r"/data/features is too small: the features take 44.0 GB, and 1.0 GB are free"):
        room.require(44 * 10**9, 10)
    with pytest.raises(SinkError, match=r"too few inodes: 1,001 files are to be written, and 1,000 more fit"):
        room.require(1, 1_001)
    Room("/data/features", free_bytes=10**9, free_files=None).require(1, 10**9)


def test_a_bucket_has_no_end():
    assert Room.of(Folder("s3://bucket/features")) is None

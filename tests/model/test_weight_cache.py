"""The cache: that names appear whole, and that hashes follow the file."""

import hashlib
import io
import os
from pathlib import Path

import pytest

from pipeline.errors import CheckpointError
from pipeline.model.weight_cache import copy_stream, file_sha256, new_cache_file
from pipeline.storage.cache import cache_folder


def test_a_file_that_is_not_moved_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SAM2_EMBED_CACHE", str(tmp_path / "deep" / "cache"))
    with new_cache_file() as (file, _):
        file.write(b"half")
    with new_cache_file() as (file, temporary):
        file.write(b"whole")
        file.flush()
        temporary.replace(cache_folder() / "kept")
    assert [path.name for path in cache_folder().iterdir()] == ["kept"]
    assert (cache_folder() / "kept").read_bytes() == b"whole"


def test_a_cache_that_cannot_be_written_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SAM2_EMBED_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CheckpointError, match=r"cannot write the cache .*; set SAM2_EMBED_CACHE"), new_cache_file():
        pass


def test_copying_counts_and_hashes_every_byte():
    data, copied = os.urandom(3_000_001), io.BytesIO()
    assert copy_stream(io.BytesIO(data), copied) == (len(data), hashlib.sha256(data).hexdigest())
    assert copied.getvalue() == data


def test_copying_a_stream_without_end_ends():
    with open("/dev/zero", "rb") as endless:  # noqa: PTH123
        size_bytes, _ = copy_stream(endless, io.BytesIO(), most_bytes=5 << 20)
    assert size_bytes == 6 << 20


def test_the_hash_of_a_file_follows_its_content(tmp_path: Path):
    path = tmp_path / "x"
    for content in (b"one", b"other"):
        path.write_bytes(content)
        assert file_sha256(path) == hashlib.sha256(content).hexdigest()
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*missing"):
        file_sha256(tmp_path / "missing")

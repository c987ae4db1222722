"""What is hashed while it is written is what lies there, on disk and through a stream."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest

from pipeline.sinks.hashing import HashedFile, HashedStream, hashed

# Pieces that begin and end inside of pages, and one of several.
PIECES = [b"", b"abc", b"x" * 4093, np.random.default_rng(1).bytes(3 << 20), b"end"]


def write(target: HashedFile | HashedStream) -> None:
    for piece in PIECES:
        target.sink.write(piece)
        target.advance()
    target.sink.write(b"footer")
    target.finish()


def test_a_local_file_is_hashed_beside_its_writer(tmp_path: Path):
    path = tmp_path / "file"
    with path.open("xb") as stream:
        target = hashed(stream)
        assert isinstance(target, HashedFile)
        write(target)
        assert not stream.closed
    data = path.read_bytes()
    assert data == b"".join([*PIECES, b"footer"])
    assert (target.size_bytes, target.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_any_other_stream_is_hashed_as_it_passes():
    stream = io.BytesIO()
    target = hashed(stream)
    assert isinstance(target, HashedStream)
    write(target)
    assert not stream.closed
    data = stream.getvalue()
    assert data == b"".join([*PIECES, b"footer"])
    assert (target.size_bytes, target.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_a_file_that_cannot_be_written_says_so():
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with Path("/dev/full").open("wb") as stream, pytest.raises(OSError, match="No space left"):
        hashed(stream).sink.write(b"x" * 10)

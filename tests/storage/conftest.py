"""Places of each kind, for the tests of what they have in common."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from pipeline.storage.folder import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder on disk that is not there yet."""
    return Folder(tmp_path / "sink")


@pytest.fixture
def remote() -> Iterator[str]:
    """A prefix of fsspec's in-memory store that no other test uses."""
    uri = f"memory://{uuid.uuid4().hex}/photos"
    yield uri
    fsspec.filesystem("memory").rm(uri.rpartition("/")[0], recursive=True)

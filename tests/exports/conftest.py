"""Feature sets to index: large ones of either kind of data, made once, and a small one with a past."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.exports.building import build_index
from pipeline.exports.vector_index import VectorIndex
from tests.vector_set import VectorSet, clustered, gaussian, grid_spec, names

NUM_LARGE = (
    22_000  # above the number from which an index has more than one list, and a batch more than one table's rows
)


def large(folder: Path, vectors: np.ndarray) -> VectorSet:
    """A set of which a later run embeds some images anew and quarantines one."""
    made = VectorSet(folder / "features")
    ids = names(len(vectors))
    made.embed_vectors(ids, np.roll(vectors, 1, axis=0))
    made.embed_vectors(ids[::2], vectors[::2])
    made.embed_vectors(ids[1::2], vectors[1::2], bad=[ids[1]])
    return made


@pytest.fixture(scope="session")
def hard(tmp_path_factory) -> VectorSet:
    """Vectors without clusters."""
    return large(tmp_path_factory.mktemp("hard"), gaussian(NUM_LARGE))


@pytest.fixture(scope="session")
def easy(tmp_path_factory) -> VectorSet:
    """Vectors in clusters."""
    return large(tmp_path_factory.mktemp("easy"), clustered(NUM_LARGE))


@pytest.fixture
def small(tmp_path: Path) -> VectorSet:
    """Thirty images, of which the first was embedded anew and the second quarantined later."""
    made = VectorSet(tmp_path / "features", folder=tmp_path)
    ids = names(30)
    made.embed_vectors(ids, gaussian(30))
    made.embed_vectors(ids[:2], gaussian(2, seed=5), bad=[ids[1]])
    return made


@pytest.fixture
def index(small: VectorSet, tmp_path: Path) -> VectorIndex:
    """An index of it."""
    build_index(small.uri, str(tmp_path / "index"))
    return VectorIndex(str(tmp_path / "index"))


@pytest.fixture
def gridded(tmp_path: Path) -> VectorSet:
    """Ten images with 4 x 4 cells each."""
    made = VectorSet(tmp_path / "gridded", (grid_spec(4),), folder=tmp_path)
    made.embed_vectors(names(10), gaussian(10), grids=gaussian(160, seed=3).reshape(10, 16, 256))
    return made


@pytest.fixture
def cells(gridded: VectorSet, tmp_path: Path) -> VectorIndex:
    """An index of their cells."""
    build_index(gridded.uri, str(tmp_path / "cells"), "grid")
    return VectorIndex(str(tmp_path / "cells"))

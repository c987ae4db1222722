"""From a feature set to an index in a local folder, in two passes: one for samples, one for everything."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from pipeline.errors import ConfigError
from pipeline.exports.image_table import COLUMNS, write_images
from pipeline.exports.index_record import IMAGES, RECORD, IndexRecord
from pipeline.exports.lists import Lists, ListWriter, train_lists
from pipeline.exports.local_output import local_path, replacing
from pipeline.exports.recall import ExactNeighbours, measured_effort
from pipeline.exports.vectors import Kind, Vectors, vectors_of
from pipeline.exports.visible import VisibleRows

# Fewer vectors are one list, which is searched whole: that takes a millisecond.
_MIN_TO_CUT = 20_000
_MAX_LISTS = 2**15
_SAMPLE_PER_LIST = 64
_NUM_QUERIES = 1000


def build_index(features_uri: str, index_uri: str, kind: Kind = "pooled") -> IndexRecord:
    """Builds an index of all vectors of the feature set that count, in the place of one that was there.

    Args:
        features_uri: a sealed feature set, anywhere.
        index_uri: a folder on local disk.
        kind: `pooled` (a vector an image) or `grid` (a vector a cell).

    Raises:
        ConfigError: there is no image in it, or the place holds something else or is not local.
        FeatureSetError: no sealed feature set there, or it is damaged.
        SinkError, AccessDeniedError: the place cannot be written.
    """
    path = local_path(index_uri, "index.uri")
    if path.exists() and not (path / RECORD).is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise ConfigError(f"index.uri={path} is there and is no index; give another folder")
    rows = VisibleRows(features_uri)
    vectors = vectors_of(kind, rows)
    if not len(vectors):
        raise ConfigError(f"{rows.root.uri} holds no features of any image, so there is nothing to index")
    with replacing(path) as folder:
        folder.mkdir()
        lists, sample = fill(folder, vectors)
        effort = measured_effort(lists, sample.queries, sample.own, exact=sample.exact)
        write_images(folder / IMAGES, rows.batches(COLUMNS))
        record = IndexRecord(
            kind=kind,
            features_uri=rows.root.uri,
            fingerprint=rows.record.fingerprint,
            run=rows.run,
            settings=rows.record.settings,
            num_images=len(rows),
            num_vectors=len(vectors),
            dimension=vectors.dimension,
            grid_side=vectors.grid_side,
            num_lists=lists.num_lists,
            num_probes=effort.num_probes,
            recall=effort.recall,
            num_queries=effort.num_queries,
            built_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        (folder / RECORD).write_bytes(record.to_bytes())
    return record


@dataclass(frozen=True)
class Sample:
    """Vectors of the set to measure with, (Q, D) float32, their numbers (Q,), and their true neighbours."""

    queries: np.ndarray
    own: np.ndarray
    exact: ExactNeighbours


def fill(folder: Path, vectors: Vectors) -> tuple[Lists, Sample]:
    """Writes the lists of all vectors to a folder; the sample says what a search of them should find."""
    num_vectors, num_lists = len(vectors), _num_lists(len(vectors))
    chance = np.random.default_rng(0)
    own = np.sort(chance.choice(num_vectors, min(_NUM_QUERIES, num_vectors), replace=False))
    of_lists = np.sort(chance.choice(num_vectors, min(_SAMPLE_PER_LIST * num_lists, num_vectors), replace=False))
    together = np.union1d(own, of_lists)
    drawn = _gather(vectors, together)
    queries = drawn[np.searchsorted(together, own)]
    writer = ListWriter(train_lists(drawn[np.searchsorted(together, of_lists)], num_lists), folder)
    del drawn
    exact = ExactNeighbours(queries, own, num_vectors)
    for batch in vectors.batches():
        writer.add(batch)
        exact.add(batch)
    return writer.finish(), Sample(queries, own, exact)


def _num_lists(num_vectors: int) -> int:
    """One for few vectors; else about twice the square root, so that choosing lists costs what searching one does."""
    if num_vectors < _MIN_TO_CUT:
        return 1
    return min(1 << round(math.log2(2 * math.sqrt(num_vectors))), _MAX_LISTS)


def _gather(vectors: Vectors, numbers: np.ndarray) -> np.ndarray:
    """The vectors of these ascending numbers, (N, D) float32."""
    sample, first = np.empty((len(numbers), vectors.dimension), np.float32), 0
    for batch in vectors.batches():
        low, high = np.searchsorted(numbers, [first, first + len(batch)])
        sample[low:high] = batch[numbers[low:high] - first]
        first += len(batch)
    return sample

"""Which images a report shows: spread evenly over the order of the set, so that the same set gives the same ones."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.exports.visible import VisibleRows
from pipeline.featureset.schema import EMBEDDING, IMAGE_FIELDS, PART

_COLUMNS = [*(field.name for field in IMAGE_FIELDS), PART.name, EMBEDDING.name]


@dataclass(frozen=True)
class Sample:
    """Images of a feature set.

    Attributes:
        positions: of each among all that count, ascending, (N,) int64.
        images: plain values of each: image_id, uri, original_height, original_width in pixels, part.
        vectors: their pooled vectors, (N, D) float32, L2-normalised.
    """

    positions: np.ndarray
    images: list[dict[str, Any]]
    vectors: np.ndarray

    @classmethod
    def of(cls, rows: VisibleRows, most: int) -> "Sample":
        """At most so many of the rows that count.

        Raises:
            FeatureSetError: the index is damaged.
        """
        positions = spread(len(rows), most)
        taken, first = [], 0
        for batch in rows.batches(_COLUMNS):
            low, high = np.searchsorted(positions, [first, first + batch.num_rows])
            taken.append(batch.take(pa.array(positions[low:high] - first)))
            first += batch.num_rows
        if not len(positions):
            return cls(positions, [], np.zeros((0, 0), np.float32))
        table = pa.Table.from_batches(taken)
        flat = table[EMBEDDING.name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        vectors = np.nan_to_num(flat.reshape(len(positions), -1).astype(np.float32))
        return cls(positions, table.drop_columns([EMBEDDING.name]).to_pylist(), vectors)


def spread(count: int, most: int) -> np.ndarray:
    """At most so many of the numbers below `count`, evenly spread, ascending, int64."""
    if count <= most:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, most).round().astype(np.int64))

"""Rows by their position among all that count: read one by one, or a few ahead of whoever goes through them."""

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.featureset.maps import MapSpec
from pipeline.featureset.schema import EMBEDDING, INDEX
from pipeline.readers.row import FeatureRow, LoadPositions
from pipeline.readers.shard_reader import ShardReader
from pipeline.storage.spreading import in_threads

# Rows that are read ahead take this much memory, or that of four rows if they are large.
_AHEAD_BYTES = 256 * 2**20
_MOST_THREADS, _FEWEST_THREADS = 16, 2

_OWN = frozenset(INDEX.names)

Place = dict[str, Any]


class RowReader:
    """Makes rows of a feature set, or of some of its maps.

    Args:
        shards: where they are read.
        places: of every row that counts: image_id, uri, original_height, original_width, shard, row, and the source's
            own columns.
        maps: the maps to read.
        load_positions: gives their position encodings.
        no_mem_embed: of the feature set's record.
        is_local: whether shards lie on a disk; then each core checks one row while another comes from the disk.
        is_whole: whether `maps` are all there are; then the pooled vector lies beside them and comes along.
    """

    def __init__(
        self,
        shards: ShardReader,
        places: pa.Table,
        maps: tuple[MapSpec, ...],
        *,
        load_positions: LoadPositions,
        no_mem_embed: Sequence[float] | None,
        is_local: bool,
        is_whole: bool,
    ) -> None:
        self._shards, self._places, self._maps = shards, places, maps
        self._load_positions, self._is_local = load_positions, is_local
        self._no_mem_embed = None if no_mem_embed is None else np.array(no_mem_embed, np.float32)
        self._columns = [EMBEDDING.name] * is_whole + [name for spec in maps for name in spec.names]

    def row(self, position: int) -> FeatureRow:
        """The row at a position, from 0."""
        return self._read([self._place(position)])[0]

    def rows(self, positions: Iterable[int]) -> Iterator[FeatureRow]:
        """The rows at these positions, in this order; neighbours in a shard of small rows are read together."""
        for rows in in_threads(self._read, self._together(positions), self._num_threads):
            yield from rows

    @property
    def _num_threads(self) -> int:
        most = min(2 * len(os.sched_getaffinity(0)), _MOST_THREADS) if self._is_local else _MOST_THREADS
        row_bytes = sum(spec.size_bytes for spec in self._maps) or 1
        return max(_FEWEST_THREADS, min(most, _AHEAD_BYTES // (2 * row_bytes)))

    def _together(self, positions: Iterable[int]) -> Iterator[list[Place]]:
        """What to read at once: with maps every row has a row group of its own, vectors of a shard share one."""
        places = map(self._place, positions)
        if self._maps:
            return ([place] for place in places)
        return (list(group) for _, group in groupby(places, key=itemgetter("shard")))

    def _place(self, position: int) -> Place:
        if not 0 <= position < self._places.num_rows:
            raise IndexError(f"there is no row {position} among {self._places.num_rows}")
        place: Place = self._places.slice(position, 1).to_pylist()[0]
        return place

    def _read(self, places: list[Place]) -> list[FeatureRow]:
        """The rows at places in one shard."""
        tables: Iterable[pa.Table | None] = [None] * len(places)
        if self._columns:
            tables = self._shards.rows(places[0]["shard"], [place["row"] for place in places], self._columns)
        return [self._made(place, table) for place, table in zip(places, tables, strict=True)]

    def _made(self, place: Place, table: pa.Table | None) -> FeatureRow:
        is_here = EMBEDDING.name in self._columns
        return FeatureRow(
            image_id=place["image_id"],
            uri=place["uri"],
            original_size=(place["original_height"], place["original_width"]),
            maps={} if table is None else {spec.column: spec.read(table)[0] for spec in self._maps},
            load_positions=self._load_positions,
            load_embedding=partial(np.asarray, _vector(table)) if is_here else partial(self._load_vector, place),
            no_mem_embed=self._no_mem_embed,
            extra={name: value for name, value in place.items() if name not in _OWN},
        )

    def _load_vector(self, place: Place) -> np.ndarray:
        return _vector(self._shards.rows(place["shard"], [place["row"]], [EMBEDDING.name])[0])


def _vector(table: pa.Table) -> np.ndarray:
    """The pooled vector in a table of one row; a copy, for the row group it lies in may hold many."""
    return np.array(table[EMBEDDING.name].combine_chunks().flatten(), np.float32)

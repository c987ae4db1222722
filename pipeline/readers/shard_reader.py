"""Rows of shards: the footer of a shard is read once and kept, then each row costs one contiguous range of bytes.

No file stays open between two rows, so a reader can be forked, pickled and shared by threads.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import FeatureSetError, StoreUnavailableError
from pipeline.featureset import catalog, paths
from pipeline.readers.sparse_file import SparseFile
from pipeline.storage.folder import Folder

# A footer takes about 0.5 kB a row and in memory ten times that.
_NUM_FOOTERS = 256
_TAIL_BYTES, _TAIL_BYTES_A_ROW = 64 * 1024, 2 * 1024
_LENGTH_AND_MAGIC_BYTES = 8
_UNIT = (b"sam2_embed.run", b"sam2_embed.unit")
# What reading raises over bytes that are no footer.
_NONSENSE = (*catalog.DAMAGE, ValueError)


class _Footer(NamedTuple):
    """What is kept of a shard: num_rows and ends are those of its row groups, ends counted from the first."""

    size_bytes: int
    metadata: pq.FileMetaData
    num_rows: np.ndarray
    ends: np.ndarray


class ShardReader:
    """Reads rows of the shards of one feature set.

    Args:
        root: the feature set.
        fingerprint: what its shards must say they are of.
        shards: every shard that may be asked for: shard, num_rows, size_bytes.
    """

    def __init__(self, root: Folder, fingerprint: str, shards: pa.Table) -> None:
        self._root, self._fingerprint, self._shards = root, fingerprint, shards
        self._footer = lru_cache(_NUM_FOOTERS)(self._read_footer)

    def __reduce__(self) -> tuple[type["ShardReader"], tuple[Folder, str, pa.Table]]:
        """What travels to other processes; footers are read again there."""
        return ShardReader, (self._root, self._fingerprint, self._shards)

    def rows(self, shard: str, rows: Sequence[int], columns: list[str]) -> list[pa.Table]:
        """Some rows of a shard, each as a table of one row; what they share a row group with is read once.

        Args:
            shard: its name.
            rows: ascending numbers of rows in the shard.
            columns: names; the bytes of no others are read.

        Raises:
            FeatureSetError: the shard is missing, damaged, or of other settings than the feature set; names it.
            AccessDeniedError, StoreUnavailableError: it cannot be read.
        """
        with self._errors(shard):
            footer = self._footer(shard)
            group_of_row = np.searchsorted(footer.ends, rows, side="right")
            groups, place_of_group = np.unique(group_of_row, return_inverse=True)
            table = self._read_groups(shard, groups.tolist(), columns)
            ends = np.cumsum(footer.num_rows[groups])  # of the row groups in the table
            places = rows - footer.ends[group_of_row] + ends[place_of_group]
            return [table.slice(place, 1) for place in places.tolist()]

    def require_known(self, names: pa.Array) -> None:
        """Refuses an index that names other shards than its run has.

        Raises:
            FeatureSetError: names the first.
        """
        unknown = names.filter(pc.invert(pc.is_in(names, self._shards["shard"].combine_chunks())))
        if len(unknown):
            raise FeatureSetError(_unknown(self._root.uri_of(unknown[0].as_py())))

    def _read_groups(self, shard: str, groups: list[int], columns: list[str]) -> pa.Table:
        footer = self._footer(shard)
        if self._root.is_local:
            source = self._root.open(shard)
        else:
            spans = _joined(span for group in groups for span in _spans(footer.metadata.row_group(group), columns))
            ranges = {start: self._read_range(shard, start, end) for start, end in spans}
            source = pa.PythonFile(SparseFile(footer.size_bytes, ranges), mode="r")
        with source:
            # With pre_buffer Arrow would also read what lies between two columns.
            file = pq.ParquetFile(source, metadata=footer.metadata, page_checksum_verification=True, pre_buffer=False)
            table = file.read_row_groups(groups, columns, use_threads=self._root.is_local)
            return table.select(columns)  # Parquet passes over a name it does not know in silence

    def _read_footer(self, shard: str) -> _Footer:
        uri, place = self._root.uri_of(shard), pc.index(self._shards["shard"], shard).as_py()
        if place < 0:
            raise FeatureSetError(_unknown(uri))
        said = self._shards.slice(place, 1).to_pylist()[0]
        read = self._local_metadata if self._root.is_local else self._remote_metadata
        metadata = read(shard, said["num_rows"], said["size_bytes"])
        if metadata.num_rows != said["num_rows"]:
            raise FeatureSetError(
                f"shard {uri} is damaged: it has {metadata.num_rows} rows, its record says {said['num_rows']}"
            )
        found = (metadata.metadata or {}).get(b"sam2_embed.fingerprint", b"nothing").decode(errors="replace")
        if found != self._fingerprint:
            raise FeatureSetError(
                f"shard {uri} holds features of other settings: its fingerprint is {found}, that of the feature set "
                f"is {self._fingerprint}"
            )
        named = tuple((metadata.metadata or {}).get(key, b"").decode(errors="replace") for key in _UNIT)
        if named != tuple(map(str, paths.unit_of_shard(shard))):
            raise FeatureSetError(
                f"shard {uri} is that of unit {named[1] or 'unknown'} of run {named[0] or 'unknown'}: "
                "it was put in the place of another"
            )
        num_rows = np.array([metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)], np.int64)
        return _Footer(said["size_bytes"], metadata, num_rows, np.cumsum(num_rows))

    def _local_metadata(self, shard: str, _: int, size_bytes: int) -> pq.FileMetaData:
        with self._root.open(shard) as stream:
            self._check_size(shard, stream.size(), size_bytes)
            return pq.read_metadata(stream)

    def _remote_metadata(self, shard: str, num_rows: int, size_bytes: int) -> pq.FileMetaData:
        """The footer from the last bytes of the shard: one request, or two if it is longer than was guessed."""
        try:
            tail = self._root.read_end(shard, _TAIL_BYTES + _TAIL_BYTES_A_ROW * num_rows)
            needed = int.from_bytes(tail[-_LENGTH_AND_MAGIC_BYTES:-4], "little") + _LENGTH_AND_MAGIC_BYTES
            if len(tail) < needed <= size_bytes:
                tail = self._read_range(shard, size_bytes - needed, size_bytes - len(tail)) + tail
            return pq.read_metadata(pa.PythonFile(SparseFile(size_bytes, {size_bytes - len(tail): tail}), mode="r"))
        except (FileNotFoundError, PermissionError, StoreUnavailableError):
            raise
        except _NONSENSE:
            self._check_size(shard, self._root.size_bytes(shard), size_bytes)
            raise

    def _read_range(self, shard: str, start: int, end: int) -> bytes:
        data = self._root.read_range(shard, start, end)
        if len(data) != end - start:
            raise OSError(f"{len(data)} bytes came where {end - start} should be")
        return data

    def _check_size(self, shard: str, size_bytes: int, said: int) -> None:
        if size_bytes != said:
            uri = self._root.uri_of(shard)
            raise FeatureSetError(f"shard {uri} is damaged: it has {size_bytes} bytes, its record says {said}")

    @contextmanager
    def _errors(self, shard: str) -> Iterator[None]:
        """Errors of reading leave the block as ours, and name the shard."""
        with catalog.reading_errors(self._root, shard, "shard "):
            try:
                yield
            except pa.ArrowException:
                raise
            except (ValueError, IndexError) as error:  # numbers of a damaged footer
                raise OSError(str(error)) from error


def _unknown(uri: str) -> str:
    return f"shard {uri} is named by an index and by no record; the feature set is damaged"


def _spans(group: pq.RowGroupMetaData, columns: list[str]) -> Iterator[tuple[int, int]]:
    """Where the chunks of these columns begin and end."""
    for chunk in map(group.column, range(group.num_columns)):
        if chunk.path_in_schema.partition(".")[0] in columns:
            start = chunk.data_page_offset
            if chunk.dictionary_page_offset is not None:
                start = min(start, chunk.dictionary_page_offset)
            yield start, start + chunk.total_compressed_size


def _joined(spans: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same bytes in as few ranges as there are gaps, and one more."""
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined

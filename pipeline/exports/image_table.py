"""The images of an index, in the order of their vectors: id, URI, original size and part, read by row."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import ImageNotFoundError
from pipeline.featureset.schema import IMAGE_FIELDS, PART

_SCHEMA = pa.schema([*IMAGE_FIELDS, PART])
COLUMNS = _SCHEMA.names
_ROWS_PER_GROUP = 16_384
_MAX_COMPARED = 100_000


class IndexedImage(NamedTuple):
    """One image; height and width of the original in pixels, and which part of its file it is."""

    image_id: str
    uri: str
    height: int
    width: int
    part: str | None = None


def write_images(path: Path, batches: Iterable[pa.RecordBatch]) -> None:
    """Writes the table from batches of `COLUMNS`."""
    with pq.ParquetWriter(path, _SCHEMA, compression="zstd", write_page_checksum=True) as writer:
        waiting: list[pa.RecordBatch] = []
        for batch in batches:
            waiting.append(batch)
            while sum(each.num_rows for each in waiting) >= _ROWS_PER_GROUP:
                table = pa.Table.from_batches(waiting)
                writer.write_table(table.slice(0, _ROWS_PER_GROUP), row_group_size=_ROWS_PER_GROUP)
                waiting = table.slice(_ROWS_PER_GROUP).to_batches()
        writer.write_table(pa.Table.from_batches(waiting, _SCHEMA), row_group_size=_ROWS_PER_GROUP)


class ImageTable:
    """The table at `path`, opened.

    Raises:
        OSError, pyarrow.ArrowException: it is not there or damaged.
    """

    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)

    def __len__(self) -> int:
        """How many images."""
        return int(self._file.metadata.num_rows)

    def ids(self) -> Iterator[pa.Array]:
        """All image ids, part by part."""
        for group in range(self._file.num_row_groups):
            yield self._file.read_row_group(group, ["image_id"])["image_id"].combine_chunks()

    def find(self, image_id: str) -> int:
        """The row of an image.

        Raises:
            ImageNotFoundError: there is none; names ids that come close.
        """
        first = 0
        for ids in self.ids():
            place = int(pc.index(ids, image_id).as_py())
            if place >= 0:
                return first + place
            first += len(ids)
        close = get_close_matches(image_id, self._some_ids(), n=3)
        meant = f"; did you mean {', '.join(map(repr, close))}" if close else ""
        raise ImageNotFoundError(f"the index has no image {image_id!r} among {len(self)}{meant}")

    def take(self, rows: np.ndarray) -> list[IndexedImage]:
        """The images in these rows, in that order; reads the parts that hold them and no others."""
        found: dict[int, IndexedImage] = {}
        for group in np.unique(rows // _ROWS_PER_GROUP).tolist():
            table = self._file.read_row_group(group, COLUMNS)  # without part, in an index from before there were any
            wanted = np.unique(rows[rows // _ROWS_PER_GROUP == group])
            taken = table.take(pa.array(wanted - group * _ROWS_PER_GROUP)).to_pylist()
            for row, image in zip(wanted.tolist(), taken, strict=True):
                found[row] = IndexedImage(*(image.get(name) for name in COLUMNS))
        return [found[row] for row in rows.tolist()]

    def _some_ids(self) -> list[str]:
        some: list[str] = []
        for ids in self.ids():
            some += ids.to_pylist()
            if len(some) >= _MAX_COMPARED:
                break
        return some

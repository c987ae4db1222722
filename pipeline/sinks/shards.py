"""One work unit's features as one Parquet shard, one row group an image so that one image reads alone."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from pipeline.featureset import paths
from pipeline.featureset.index import index_rows
from pipeline.featureset.maps import MapSpec
from pipeline.featureset.records import FeatureSetRecord, IndexRows, TableFile
from pipeline.featureset.schema import EMBEDDING, IMAGE_FIELDS, shard_schema
from pipeline.sinks.hashing import Uploading
from pipeline.sinks.tables import TableWriter, table_writer
from pipeline.storage.folder import Folder


@dataclass(frozen=True)
class EmbeddedImages:
    """Features of a few images: ids, URIs, sizes (height, width), maps by column (N, H, W, C), pooled (N, 256).

    Scaled integers come with their scales (N, C), by the name of their column.
    """

    image_ids: list[str]
    uris: list[str]
    original_sizes: list[tuple[int, int]]
    maps: Mapping[str, np.ndarray]
    embeddings: np.ndarray


class ShardWriter:
    """Appends images to one shard, whose file is begun with the first of them."""

    def __init__(self, begin: Callable[[], TableWriter], schema: pa.Schema, maps: tuple[MapSpec, ...]) -> None:
        self._begin, self._schema, self._maps = begin, schema, maps
        self._writer: TableWriter | None = None
        self._appended: list[EmbeddedImages] = []

    def append(self, images: EmbeddedImages) -> None:
        """Writes the images as rows, in order."""
        heights, widths = zip(*images.original_sizes, strict=True)
        columns = [
            pa.array(images.image_ids, IMAGE_FIELDS[0].type),
            pa.array(images.uris, IMAGE_FIELDS[1].type),
            pa.array(heights, IMAGE_FIELDS[2].type),
            pa.array(widths, IMAGE_FIELDS[3].type),
            pa.array(list(images.embeddings.astype(np.float32)), EMBEDDING.type),
            *(array for spec in self._maps for array in spec.arrays(images.maps)),
        ]
        if self._writer is None:
            self._writer = self._begin()
        table = pa.Table.from_arrays(columns, schema=self._schema)
        self._writer.append(table, row_group_size=1 if self._maps else None)
        self._appended.append(replace(images, maps={}))  # the maps are written; they must not stay in memory

    @property
    def file(self) -> TableFile | None:
        """The finished shard; None if no image was written."""
        return self._writer.file if self._writer else None

    @property
    def rows(self) -> IndexRows:
        """What the index will say of the images, in the order of the rows."""
        if not self._appended:
            return IndexRows()
        return index_rows(
            [image_id for images in self._appended for image_id in images.image_ids],
            [uri for images in self._appended for uri in images.uris],
            [size for images in self._appended for size in images.original_sizes],
            embeddings=np.concatenate([images.embeddings for images in self._appended]),
        )


@contextmanager
def shard_writer(
    root: Folder, record: FeatureSetRecord, *, run: int, unit: int, uploading: Uploading = nullcontext
) -> Iterator[ShardWriter]:
    """A writer of the unit's shard, which appears whole when the block ends; without images there is no file.

    Args:
        root: the feature set.
        record: of it.
        run: the run.
        unit: the unit.
        uploading: gives a block to wait for an object store in, for whoever wants to know how long that takes.
    """
    maps = record.maps
    schema = shard_schema(maps, fingerprint=record.fingerprint, weights=record.settings["weights"], run=run, unit=unit)
    with ExitStack() as stack:
        yield ShardWriter(
            lambda: stack.enter_context(table_writer(root, paths.shard(run, unit), schema, uploading)), schema, maps
        )

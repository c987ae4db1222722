"""What a run has to do: the images to embed, cut into units."""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from pipeline.featureset.maps import MapSpec
from pipeline.featureset.schema import PLAN, plan_schema

_SHARD_BYTES = 384 * 2**20
_PIXEL_BYTES = 128 * 2**20
_MAX_IMAGES = 64
# Units to a row group of the plan: what one task reads and sends on its way.
UNITS_PER_GROUP = 1024


def images_per_unit(maps: tuple[MapSpec, ...], side_px: int) -> int:
    """How many images make a unit: shards of up to 384 MiB, pixels between two steps up to 128 MiB, at most 64."""
    feature_bytes = max(sum(spec.size_bytes for spec in maps), 1)
    pixel_bytes = 3 * side_px * side_px * 4
    return max(1, min(_SHARD_BYTES // feature_bytes, _PIXEL_BYTES // pixel_bytes, _MAX_IMAGES))


def cut_units(refs: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """The plan: one row a unit, `size` images each but for the last, in the order given.

    Args:
        refs: batches of `REFS`, perhaps with further columns.
        size: images to a unit.

    Returns:
        Tables of up to `UNITS_PER_GROUP` units, of `PLAN` and the further columns; none for no refs.
    """
    first = 0
    for images in _tables_of(refs, size * UNITS_PER_GROUP):
        units = _units(images, size, first)
        first += units.num_rows
        yield units


def _tables_of(refs: Iterable[pa.RecordBatch], num_rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of `num_rows`, but for the last."""
    waiting: list[pa.Table] = []
    for batch in refs:
        waiting.append(pa.Table.from_batches([batch]))
        while sum(table.num_rows for table in waiting) >= num_rows:
            gathered = pa.concat_tables(waiting)
            yield gathered.slice(0, num_rows)
            waiting = [gathered.slice(num_rows)]
    rest = [table for table in waiting if table.num_rows]
    if rest:
        yield pa.concat_tables(rest)


def _units(images: pa.Table, size: int, first: int) -> pa.Table:
    num_units = -(-images.num_rows // size)
    offsets = pa.array(np.minimum(np.arange(num_units + 1) * size, images.num_rows), pa.int32())
    numbers = pa.array(np.arange(first, first + num_units), pa.int32())
    schema = plan_schema(field for field in images.schema if field.name not in PLAN.names)
    lists = [pa.ListArray.from_arrays(offsets, images[name].combine_chunks()) for name in schema.names[1:]]
    return pa.Table.from_arrays([numbers, *lists], schema=schema)

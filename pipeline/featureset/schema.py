"""Columns of every Parquet table in a feature set; those of maps are in `maps`."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.featureset.maps import MapSpec


def only_value(column: pa.ChunkedArray) -> pa.Buffer:
    """The bytes of the one binary value in a column of one row; a view (Arrow's own scalar would be a copy)."""
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    buffers = array.buffers()
    if pa.types.is_fixed_size_binary(array.type):
        width = array.type.byte_width
        return buffers[1].slice(array.offset * width, width)
    start, end = np.frombuffer(buffers[1], np.int64)[array.offset : array.offset + 2]
    return buffers[2].slice(int(start), int(end - start))


IMAGE_FIELDS = [
    pa.field("image_id", pa.string(), nullable=False),
    pa.field("uri", pa.string(), nullable=False),
    pa.field("original_height", pa.int32(), nullable=False, metadata={"unit": "pixels"}),
    pa.field("original_width", pa.int32(), nullable=False, metadata={"unit": "pixels"}),
]
EMBEDDING = pa.field(
    "embedding",
    pa.list_(pa.float32()),
    nullable=False,
    metadata={
        "meaning": "the coarsest FPN level pooled over its cells, L2-normalised",
    },
)

PLAN = pa.schema(
    [
        pa.field("unit", pa.int32(), nullable=False),
        pa.field("image_id", pa.list_(pa.string()), nullable=False),
        pa.field("uri", pa.list_(pa.string()), nullable=False),
        pa.field("size_bytes", pa.list_(pa.int64()), nullable=False),
        pa.field("version", pa.list_(pa.string()), nullable=False),
    ]
)
# Of refs whose images are parts of an object (see `part`), in the plan and in the index.
PART = pa.field(
    "part",
    pa.string(),
    metadata={"meaning": "which part of the object at uri the image is; null: all of it"},
)
# Of tiles of large images, in the plan and in the index: null of what is none.
TILES = pa.schema(
    [
        *(
            pa.field(name, pa.int32(), metadata={"unit": "pixels", "meaning": meaning})
            for name, meaning in (
                ("box_left", "of the tile in its upright image"),
                ("box_top", "of the tile in its upright image"),
                ("box_width", "of the tile"),
                ("box_height", "of the tile"),
                ("image_height", "of the image that the tile is of"),
                ("image_width", "of the image that the tile is of"),
            )
        ),
        pa.field("scale_y", pa.float64(), metadata={"meaning": "rows of the encoder's input to a row of the image"}),
        pa.field("scale_x", pa.float64(), metadata={"meaning": "columns of the encoder's input to one of the image"}),
    ]
)
INDEX = pa.schema(
    [
        *IMAGE_FIELDS,
        pa.field("shard", pa.string(), nullable=False),
        pa.field("row", pa.int32(), nullable=False, metadata={"meaning": "row of the image in its shard"}),
        EMBEDDING,
    ]
)
# How the work on a unit went, see `records.UnitWork`; times in seconds since 1970.
WORK_FIELDS = [
    pa.field("command", pa.string()),
    pa.field("command_began", pa.float64()),
    pa.field("encoder", pa.string()),
    pa.field("began", pa.float64()),
    pa.field("until", pa.float64()),
    pa.field("account", pa.map_(pa.string(), pa.float64())),
    pa.field("seconds", pa.map_(pa.string(), pa.float64())),
    pa.field("node", pa.string()),
    pa.field("decoded_on", pa.string()),
]
# The columns of `SHARDS` that say which file it is.
SHARD_FILE = ["shard", "num_rows", "size_bytes", "sha256"]
SHARDS = pa.schema(
    [
        pa.field("shard", pa.string(), nullable=False),
        pa.field("num_rows", pa.int32(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        *WORK_FIELDS,
    ]
)
REMOVED = pa.schema([pa.field("image_id", pa.string(), nullable=False)])
QUARANTINE = pa.schema(
    [
        pa.field(name, pa.string(), nullable=False)
        for name in ("image_id", "uri", "stage", "error_class", "error_type", "message")
    ]
)


def plan_schema(extra: Iterable[pa.Field]) -> pa.Schema:
    """A plan of refs that have further columns."""
    return pa.schema([*PLAN, *(field.with_type(pa.list_(field.type)) for field in extra)])


def index_schema(extra: Iterable[pa.Field]) -> pa.Schema:
    """The index of a run whose plan has further columns."""
    return pa.schema([*INDEX, *extra])


def extra_fields(plan: pa.Schema) -> list[pa.Field]:
    """The further columns of a plan, as its refs had them."""
    return [field.with_type(field.type.value_type) for field in plan if field.name not in PLAN.names]


def shard_schema(
    maps: tuple[MapSpec, ...], *, fingerprint: str, weights: Mapping[str, Any], run: int, unit: int
) -> pa.Schema:
    """The columns of one shard: identity, size and pooled vector first, then the maps from fine to coarse.

    The weights are named in every shard, so that random ones cannot pass for trained ones anywhere.
    """
    metadata = {
        "sam2_embed.fingerprint": fingerprint,
        "sam2_embed.weights": json.dumps(weights),
        "sam2_embed.run": str(run),
        "sam2_embed.unit": str(unit),
    }
    return pa.schema(
        [*IMAGE_FIELDS, EMBEDDING, *(field for spec in maps for field in spec.fields())], metadata=metadata
    )

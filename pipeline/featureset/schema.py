"""Columns of every Parquet table in a feature set, and how a feature map lies in its bytes.

A map is one fixed-size binary value: its numbers in (height, width, channel) order, little-endian. That is the
order the encoder produces them in, it is written and read five to ten times as fast as a list of numbers, and
every Parquet reader opens it. The schema says dtype, shape and meaning; readers hand out (C, H, W) views.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class MapSpec:
    """One stored map: column name, FPN level (0 is the finest), (C, H, W), numpy dtype name, input pixels per cell."""

    column: str
    level: int
    shape_chw: tuple[int, int, int]
    dtype: str
    stride_px: int

    @property
    def size_bytes(self) -> int:
        """Bytes of one image's map."""
        return int(np.prod(self.shape_chw)) * np.dtype(self.dtype).itemsize

    def field(self) -> pa.Field:
        """The Parquet column, self-describing."""
        channels, height, width = self.shape_chw
        meaning = {
            "dtype": self.dtype,
            "shape": [height, width, channels],
            "layout": "HWC, C order, little-endian",
            "level": self.level,
            "stride_px": self.stride_px,
            "meaning": f"SAM 2 backbone_fpn[{self.level}]",
        }
        metadata = {key: value if isinstance(value, str) else json.dumps(value) for key, value in meaning.items()}
        return pa.field(self.column, pa.binary(self.size_bytes), nullable=False, metadata=metadata)

    def encode(self, values_hwc: np.ndarray) -> np.ndarray:
        """Numbers of one or more maps (..., H, W, C) as contiguous storage numbers."""
        return np.ascontiguousarray(values_hwc, dtype=np.dtype(self.dtype).newbyteorder("<"))

    def decode(self, data: pa.Buffer | bytes) -> np.ndarray:
        """The (C, H, W) view of one stored value; read-only, nothing is copied."""
        channels, height, width = self.shape_chw
        values = np.frombuffer(data, dtype=np.dtype(self.dtype).newbyteorder("<"))
        return values.reshape(height, width, channels).transpose(2, 0, 1)


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
        "meaning": "mean over the cells of the coarsest stored FPN level, L2-normalised",
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
INDEX = pa.schema(
    [
        *IMAGE_FIELDS,
        pa.field("shard", pa.string(), nullable=False),
        pa.field("row", pa.int32(), nullable=False, metadata={"meaning": "row of the image in its shard"}),
        EMBEDDING,
    ]
)
SHARDS = pa.schema(
    [
        pa.field("shard", pa.string(), nullable=False),
        pa.field("num_rows", pa.int32(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
    ]
)
REMOVED = pa.schema([pa.field("image_id", pa.string(), nullable=False)])
QUARANTINE = pa.schema(
    [
        pa.field(name, pa.string(), nullable=False)
        for name in ("image_id", "uri", "stage", "error_class", "error_type", "message")
    ]
)


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
    return pa.schema([*IMAGE_FIELDS, EMBEDDING, *(spec.field() for spec in maps)], metadata=metadata)


def position_spec(spec: MapSpec, channels: int) -> MapSpec:
    """How the position encoding that belongs to a map is stored; its channels are the encoding's own."""
    return MapSpec(f"position_{spec.level}", spec.level, (channels, *spec.shape_chw[1:]), "float32", spec.stride_px)

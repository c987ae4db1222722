"""How a feature map lies in Parquet columns: its numbers in (height, width, channel) order, little-endian.

That is the order the encoder produces them in. A map is one fixed-size binary value unless the set asks for tensor
columns: bytes are written and read four times as fast as a list of numbers, and every Parquet reader opens them. The
schema says dtype, shape and meaning; readers hand out (C, H, W) arrays.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

Layout = Literal["blob", "tensor"]
# One vector a cell of a grid over the coarsest level: a map too, but not one of the encoder's.
GRID = "grid"
# What the mask decoder takes, from fine to coarse.
DECODER_COLUMNS = ("high_res_0", "high_res_1", "fpn_2")


@dataclass(frozen=True)
class Column:
    """Numbers of one dtype and shape a row, in C order, as one Parquet column."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    layout: Layout

    @property
    def size_bytes(self) -> int:
        """Bytes of one row's numbers."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    @property
    def type(self) -> pa.DataType:
        """What Arrow calls the column's values."""
        if self.layout == "blob":
            return pa.binary(self.size_bytes)
        names = {3: ["height", "width", "channel"], 1: ["channel"]}[len(self.shape)]
        return pa.fixed_shape_tensor(pa.from_numpy_dtype(np.dtype(self.dtype)), self.shape, dim_names=names)

    def array(self, values: np.ndarray) -> pa.Array:
        """The numbers of N rows, (N, *shape), as Arrow has them; nothing is copied that has the dtype already.

        Raises:
            ValueError: of another shape, or not integers where integers are stored.
        """
        if values.shape[1:] != self.shape:  # Arrow would take the bytes as they come
            raise ValueError(f"{self.name} holds numbers of shape {self.shape}, not {values.shape[1:]}")
        wanted = np.dtype(self.dtype).newbyteorder("<")
        if wanted.kind == "i" and values.dtype != wanted:
            raise ValueError(f"{self.name} holds {self.dtype}, and {values.dtype} would be cut off")
        stored = np.ascontiguousarray(values, dtype=wanted)
        if self.layout == "blob":
            return pa.Array.from_buffers(self.type, len(stored), [None, pa.py_buffer(stored)])
        numbers = pa.Array.from_buffers(self.type.value_type, stored.size, [None, pa.py_buffer(stored)])
        storage = pa.FixedSizeListArray.from_arrays(numbers, type=self.type.storage_type)
        return pa.ExtensionArray.from_storage(self.type, storage)

    def numbers(self, column: pa.ChunkedArray) -> np.ndarray:
        """The numbers of all rows, (N, *shape); read-only, a view if the column is one chunk."""
        array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
        stored = array.storage.flatten() if self.layout == "tensor" else array
        size = self.size_bytes if self.layout == "blob" else np.dtype(self.dtype).itemsize
        data = stored.buffers()[1].slice(stored.offset * size, len(stored) * size)
        return np.frombuffer(data, np.dtype(self.dtype).newbyteorder("<")).reshape(len(array), *self.shape)


@dataclass(frozen=True)
class MapSpec:
    """One stored map: column name, FPN level (0 is the finest), (C, H, W), numpy dtype name, input pixels per cell.

    Integers of dtype `int8` stand for themselves times a scale, one a channel and image, in a column of their own.
    """

    column: str
    level: int
    shape_chw: tuple[int, int, int]
    dtype: str
    stride_px: int
    layout: Layout = "blob"

    @property
    def is_scaled(self) -> bool:
        """Whether its integers have scales."""
        return self.dtype == "int8"

    @property
    def size_bytes(self) -> int:
        """Bytes of one image's map."""
        return sum(column.size_bytes for column in self.columns)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The column of the numbers, and that of their scales if they have any."""
        channels, height, width = self.shape_chw
        numbers = Column(self.column, self.dtype, (height, width, channels), self.layout)
        if not self.is_scaled:
            return (numbers,)
        return numbers, Column(f"{self.column}_scale", "float32", (channels,), self.layout)

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return [column.name for column in self.columns]

    def fields(self) -> list[pa.Field]:
        """The Parquet columns, self-describing."""
        numbers, *scales = self.columns
        meaning = {
            "dtype": self.dtype,
            "shape": list(numbers.shape),
            "layout": "HWC, C order, little-endian",
            "level": self.level,
            "stride_px": self.stride_px,
            "meaning": self._meaning,
        }
        if scales:
            meaning["scale"] = f"times column {scales[0].name}, channel by channel"
        fields = [pa.field(numbers.name, numbers.type, nullable=False, metadata=_as_text(meaning))]
        for scale in scales:
            about = {"dtype": scale.dtype, "shape": list(scale.shape), "meaning": f"of {self.column}, one a channel"}
            fields.append(pa.field(scale.name, scale.type, nullable=False, metadata=_as_text(about)))
        return fields

    def arrays(self, stored: Mapping[str, np.ndarray]) -> list[pa.Array]:
        """The columns of N images.

        Args:
            stored: by column name: numbers (N, H, W, C), and scales (N, C) if there are any.

        Raises:
            ValueError: numbers of another shape.
        """
        return [column.array(stored[column.name]) for column in self.columns]

    def read(self, rows: pa.Table) -> np.ndarray:
        """The maps of the rows, (N, C, H, W); a read-only view of what is stored, but float32 for scaled integers."""
        numbers, *scales = [column.numbers(rows[column.name]) for column in self.columns]
        values_NHWC = numbers if not scales else scaled(numbers, scales[0])
        return values_NHWC.transpose(0, 3, 1, 2)

    @property
    def _meaning(self) -> str:
        source = f"SAM 2 backbone_fpn[{self.level}]"
        if self.column.startswith("high_res_"):
            return f"SAM 2 sam_mask_decoder.conv_s{self.level}(backbone_fpn[{self.level}])"
        if self.column == GRID:
            return f"means of {source} over the cells of a grid, each L2-normalised"
        return source


def scaled(numbers_HWC: np.ndarray, scale_C: np.ndarray) -> np.ndarray:
    """What integers (..., H, W, C) and their scales (..., C) stand for, float32."""
    values: np.ndarray = numbers_HWC * scale_C[..., None, None, :]
    return values


def position_spec(spec: MapSpec, channels: int) -> MapSpec:
    """How the position encoding that belongs to a map is stored; its channels are the encoding's own."""
    return MapSpec(f"position_{spec.level}", spec.level, (channels, *spec.shape_chw[1:]), "float32", spec.stride_px)


def level_maps(maps: tuple[MapSpec, ...]) -> tuple[MapSpec, ...]:
    """Those that are levels of the encoder, which have position encodings."""
    return tuple(spec for spec in maps if spec.column != GRID)


def _as_text(values: Mapping[str, object]) -> dict[str, str]:
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}

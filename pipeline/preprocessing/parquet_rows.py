"""Rows of a Parquet file whose values are images, read on from where the last one was, a few of them at a time.

This runs in the decoder process alone: a file that crashes, bloats or outlasts its parser costs the image it was asked
for, and the process that parses it holds nobody's credentials.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from pipeline.errors import ImageError
from pipeline.featureset.part import Part
from pipeline.preprocessing.served_file import ServedFile

# What questions about Parquet files begin with; a JSON object follows.
PARQUET = "parquet "
_BUFFER_BYTES = 1 << 16
_BATCH_BYTES, _MAX_BATCH_ROWS = 4 << 20, 64
# Of the ids and further columns of a row group.
_MAX_VALUES_BYTES = 256 << 20
# Of an image. Of files by themselves execution.decode_max_mib says how many, which this process is not told.
_MAX_IMAGE_BYTES = 256 << 20
_VALUES_AT_ONCE = 512  # a value of a dictionary may be long, and be there in every row


def image_bytes(source: ServedFile, part: Part) -> bytes:
    """The bytes in one row of one column.

    Raises:
        ImageError: there are none (`NoImageBytes`), more than 256 MiB (`FileTooLarge`), or the file is not what it
            says (`DamagedShard`).
    """
    assert part.row is not None
    assert part.column is not None
    return _opened(source).value(part.column, part.row)


def answer(source: ServedFile, question: dict[str, Any]) -> Any:
    """What a plan asks of a file.

    Args:
        source: the file.
        question: `{}` for its columns; `{"group": 0, "columns": [...]}` for the values of some in a row group.

    Returns:
        For its columns: `groups`, the rows of each row group; `columns`, the kind (`text`, `integer`, `float`,
        `boolean`) of each that has plain values, also of those in structs, by name; `images`, the names of those
        that have bytes. For values: a list of them a column.

    Raises:
        ImageError: `DamagedShard`; it is no Parquet file, has extension types, or values beyond all measure.
    """
    table = _opened(source)
    return table.values(question["group"], question["columns"]) if question else table.description()


_last: dict[str, "_Table"] = {}


def _opened(source: ServedFile) -> "_Table":
    """The file, kept for its next row, even if the image in its last one was none."""
    if source.key not in _last:
        _last.clear()
        _last[source.key] = _Table(source)
    return _last[source.key]


class _Table:
    """An open file."""

    def __init__(self, source: ServedFile) -> None:
        pa, pq = _arrow()
        try:
            # `ServedFile` gives no more than a block at a time, and Arrow takes less than it asked for to be the end.
            stream = pa.PythonFile(io.BufferedReader(source, _BUFFER_BYTES), mode="r")
            self._file = pq.ParquetFile(
                stream, pre_buffer=False, buffer_size=_BUFFER_BYTES, page_checksum_verification=True
            )
            self._groups = [self._file.metadata.row_group(each) for each in range(self._file.num_row_groups)]
            self._schema = self._file.schema_arrow
        except Exception as error:
            raise _damaged("it cannot be opened as Parquet", error) from error
        _require_plain_types(self._schema)
        self._images: dict[tuple[str, int], _Images] = {}

    def description(self) -> dict[str, Any]:
        fields = [field for field in self._schema if "." not in field.name]
        kinds = {field.name: _kind(field) for field in fields}
        for field in fields:
            if _is_struct(field.type):
                kinds |= {f"{field.name}.{child.name}": _kind(child) for child in _children(field)}
        return {
            "groups": [group.num_rows for group in self._groups],
            "columns": {name: kind for name, kind in kinds.items() if kind is not None},
            "images": [path for path in map(_image_path, fields) if path is not None],
        }

    def values(self, group: int, columns: list[str]) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {name: [] for name in columns}
        num_bytes = 0
        try:
            for batch in self._iterate(group, columns, _VALUES_AT_ONCE):
                plain = {name: _plain(_leaf(batch, name)) for name in columns}
                num_bytes += sum(each.nbytes for each in plain.values())
                _require_few(num_bytes)
                for name, each in plain.items():
                    found[name].extend(each.to_pylist())
        except Exception as error:
            raise _damaged("its columns cannot be read", error) from error
        return found

    def value(self, column: str, row: int) -> bytes:
        group, first = self._group_of(row)
        if (column, group) not in self._images:
            self._images = {(column, group): _Images(partial(self._iterate, group, [column]), self._groups[group])}
        data = self._images[column, group].value(column, row - first)
        if not data:
            said = f"row {row} of {column} holds no bytes, perhaps only a path: put the images into the file"
            raise ImageError(said, stage="fetch", error_type="NoImageBytes")
        return data

    def _iterate(self, group: int, columns: list[str], size: int) -> Iterator[Any]:
        batches: Iterator[Any] = self._file.iter_batches(
            batch_size=size, row_groups=[group], columns=columns, use_threads=False
        )
        return batches

    def _group_of(self, row: int) -> tuple[int, int]:
        """The row group that holds a row, and the first row of it."""
        first = 0
        for number, group in enumerate(self._groups):
            if row < first + group.num_rows:
                return number, first
            first += group.num_rows
        raise ImageError(f"it has {first} rows, and no row {row}", stage="fetch", error_type="DamagedShard")


class _Images:
    """The images of a row group, read as far as they were asked for.

    Args:
        begin: begins to read the group in batches of so many rows.
        group: Arrow's metadata of it.
    """

    def __init__(self, begin: Callable[[int], Iterator[Any]], group: Any) -> None:
        self._begin = begin
        row_bytes = max(1, group.total_byte_size // max(1, group.num_rows))
        self._size = max(1, min(_MAX_BATCH_ROWS, _BATCH_BYTES // row_bytes))
        self._rewind()
        self._first_damaged: tuple[int, str] | None = None

    def value(self, column: str, row: int) -> bytes | None:
        """The bytes in a row of the group."""
        if self._first_damaged is not None and row >= self._first_damaged[0]:
            raise _damaged(self._first_damaged[1])
        if row < self._first:
            self._rewind()
        try:
            self._read_to(row)
            value = _leaf(self._batch, column)[row - self._first]
            size_bytes = value.as_buffer().size if value.is_valid else 0
            data: bytes | None = value.as_py() if size_bytes <= _MAX_IMAGE_BYTES else None
        except Exception as error:
            if self._size > 1 and not isinstance(error, MemoryError):  # which row it is shows row by row
                self._size = 1
                self._rewind()
                return self.value(column, row)
            damaged = _damaged(f"row {self._next} of its row group cannot be read", error)
            self._first_damaged = (self._next, str(damaged))
            self._rewind()
            raise damaged from error
        if size_bytes > _MAX_IMAGE_BYTES:
            said = f"row {row} of its row group has {size_bytes} bytes in {column}, {_MAX_IMAGE_BYTES} are allowed"
            raise ImageError(said, stage="fetch", error_type="FileTooLarge", error_class="permanent")
        return data

    def _rewind(self) -> None:
        self._batches, self._batch, self._first, self._next = self._begin(self._size), None, 0, 0

    def _read_to(self, row: int) -> None:
        while row >= self._next:
            batch = next(self._batches)
            self._batch, self._first, self._next = batch, self._next, self._next + batch.num_rows


def _arrow() -> tuple[Any, Any]:
    """Arrow, in this process alone, which has little address space: its own allocators would reserve a gigabyte."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pa.set_memory_pool(pa.system_memory_pool())
    return pa, pq


def _require_few(num_bytes: int) -> None:
    if num_bytes > _MAX_VALUES_BYTES:
        raise ValueError(f"a row group has more than {_MAX_VALUES_BYTES} bytes in them")


def _leaf(batch: Any, column: str) -> Any:
    """The values of a column, or of a field of a struct, which is null where the struct is."""
    import pyarrow.compute as pc

    outer, _, inner = column.partition(".")
    values = batch.column(outer)  # KeyError: there is no such column
    return pc.struct_field(values, inner) if inner else values


def _children(field: Any) -> list[Any]:
    return [field.type.field(place) for place in range(field.type.num_fields)]


def _require_plain_types(fields: Iterable[Any]) -> None:
    import pyarrow as pa

    for field in fields:
        if b"ARROW:extension:name" in (field.metadata or {}) or isinstance(field.type, pa.BaseExtensionType):
            said = f"its column {field.name!r} has an extension type, which is not read: write it as plain values"
            raise ImageError(said, stage="fetch", error_type="DamagedShard")
        _require_plain_types(_children(field))


def _image_path(field: Any) -> str | None:
    """Where the bytes of images are in a column, if they are: in it, or in its field `bytes`."""
    if _is_binary(field.type):
        return str(field.name)
    has_bytes = any(child.name == "bytes" and _is_binary(child.type) for child in _children(field))
    return f"{field.name}.bytes" if _is_struct(field.type) and has_bytes else None


def _is_struct(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_struct(kind))


def _is_binary(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _kind(field: Any) -> str | None:
    from pipeline.featureset.columns import kind_of  # which takes Arrow along

    return kind_of(field)


def _plain(values: Any) -> Any:
    """Values as JSON has them, of which numbers may have more than 63 bits: a plan says so."""
    import pyarrow as pa
    from pyarrow import types

    from pipeline.featureset.columns import KINDS

    kind = _kind(pa.field("", values.type))
    if types.is_uint64(values.type) or kind is None or values.type == KINDS[kind]:
        return values
    return values.cast(KINDS[kind])


def _damaged(what: str, error: Exception | None = None) -> ImageError:
    if isinstance(error, MemoryError):
        _last.clear()
        raise error
    if error is not None:
        said = "there are no more" if isinstance(error, StopIteration) else str(error).strip() or type(error).__name__
        what = f"{what}: {said[:500]}"
    return ImageError(what, stage="fetch", error_type="DamagedShard", error_class="transient")

"""Lists of images made to do harm, or broken on purpose; each is a real file."""

import gzip
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

NUM_ROWS = 777  # whose two bytes in a footer are found nowhere else by chance


class _Marker:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self._path), "w")


def parquet(path: Path, table: pa.Table | dict[str, Any], **options: Any) -> Path:
    """A Parquet file of a table."""
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), path, **options)
    return path


def with_extension(path: Path, name: str, marker: Path) -> Path:
    """A list with a column of an extension type, whose metadata makes `marker` when somebody unpickles it."""
    metadata = {"ARROW:extension:name": name, "ARROW:extension:metadata": pickle.dumps(_Marker(marker), 0).decode()}
    tensors = pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2))
    field = pa.field("tensor", tensors.type, metadata=metadata)
    return parquet(path, pa.table([pa.array(["a.jpg"]), tensors], schema=pa.schema([("uri", pa.string()), field])))


def _varint(value: int) -> bytes:
    """As Parquet's footers spell a whole number."""
    value, spelled = value << 1, b""
    while value >= 128:
        spelled, value = spelled + bytes([value & 127 | 128]), value >> 7
    return spelled + bytes([value])


def claiming(path: Path, num_rows: int, *, in_all_places: bool = True) -> Path:
    """A list of 777 rows whose footer claims another number, in all or in the file's own count alone."""
    parquet(path, {"uri": [f"{number}.jpg" for number in range(NUM_ROWS)]})
    data = path.read_bytes()
    size_bytes = int.from_bytes(data[-8:-4], "little")
    footer, count = data[-8 - size_bytes : -8], b"\x16" + _varint(NUM_ROWS)
    assert footer.count(count) >= 2
    footer = footer.replace(count, b"\x16" + _varint(num_rows), -1 if in_all_places else 1)
    path.write_bytes(data[: -8 - size_bytes] + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    return path


def dictionary_bomb(path: Path) -> Path:
    """A small file of many rows that all are the same 60 kB of text: 12 GB once they are written out."""
    words = pa.DictionaryArray.from_arrays(pa.array([0] * 200_000, pa.int32()), pa.array(["x" * 60_000]))
    uris = pa.DictionaryArray.from_arrays(pa.array([0] * 200_000, pa.int32()), pa.array(["a.jpg"]))
    return parquet(path, pa.table({"uri": uris, "caption": words}), compression="zstd")


def long_string(path: Path, size_bytes: int) -> Path:
    """A small file with one huge value."""
    options = {"compression": "zstd", "use_dictionary": False, "write_statistics": False}
    return parquet(
        path, {"uri": pa.array(["a.jpg", b"x" * size_bytes, "b.jpg"], pa.binary()).cast(pa.string())}, **options
    )


def line_bomb(path: Path, size_bytes: int) -> Path:
    """A packed CSV of long and sound lines, a thousandth of their size."""
    line = b"a" * 60_000 + b"\n"
    with gzip.open(path, "wb", compresslevel=6) as stream:
        stream.write(b"uri\n")
        for _ in range(0, size_bytes, len(line)):
            stream.write(line)
    return path


def endless_line(path: Path, size_bytes: int) -> Path:
    """A CSV whose one line is that long; a hole in the disk."""
    path.write_bytes(b"uri\n")
    with path.open("r+b") as stream:
        stream.truncate(size_bytes)
    return path

"""Images in a column of Parquet files, as Hugging Face data sets have them: a struct of bytes and path, or plain bytes.

Nothing is parsed here: what the files hold says the decoder process, which the source is given as a function. Planning
reads footers, and the columns that are carried along; never the images.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import ImageError, SourceError
from pipeline.featureset.columns import KINDS, leave_out, refusal_of, shown_name
from pipeline.featureset.part import Part
from pipeline.featureset.schema import PART
from pipeline.sources.files import SourceFile, SourceFiles
from pipeline.sources.image_ref import REFS, REFS_AT_ONCE, Ask
from pipeline.storage.trouble import PATIENCE_S

logger = logging.getLogger("pipeline")


@dataclass(frozen=True)
class _Columns:
    """Which columns are what: the same in all files."""

    image: str
    id: str | None
    own: dict[str, str]

    @property
    def read(self) -> list[str]:
        return sorted({*self.own, *([self.id] if self.id else [])})


class ParquetSource:
    """The rows of one Parquet file, or of all below a folder.

    Args:
        uri: the file or the folder, local or any URI that fsspec knows.
        column: which column has the images; None takes the one that has bytes.
        id_column: which column has their ids, such as `image.path`; None makes ids `file#row`.
        columns: which others the index carries along; None takes all of plain values whose names are free.
        ask: finds out what the files hold; without it only whether they are there is known.
        patience_s: how long an object store may be in trouble, in seconds.

    Raises:
        SourceError: there are no such files; later, none that can be read, no such columns, or too large numbers.
    """

    num_ignored = 0

    def __init__(
        self,
        uri: str,
        column: str | None = None,
        id_column: str | None = None,
        *,
        columns: tuple[str, ...] | None = None,
        ask: Ask | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._files, self._answers = SourceFiles(uri, (".parquet",), patience_s), ask
        self._wanted = (column, id_column, columns)
        if next(iter(self._files), None) is None:
            raise SourceError(f"source.uri={uri}: there are no .parquet files in {self._files.uri}")

    @property
    def description(self) -> dict[str, Any]:
        """What makes two sources the same one."""
        chosen = self._columns
        columns = {"column": chosen.image, "id_column": chosen.id, "columns": list(chosen.own)}
        return {"kind": "parquet", "uri": self._files.uri, **columns}

    @property
    def schema(self) -> pa.Schema:
        """Columns of its refs."""
        own = [pa.field(name, KINDS[kind]) for name, kind in self._columns.own.items()]
        return pa.schema([*REFS, PART, *own])

    def refs(self) -> Iterator[pa.RecordBatch]:
        """The rows of all files in order; a file that cannot be read is one ref, which says why."""
        for file in self._files:
            try:
                yield from self._rows_of(file)
            except ImageError as error:
                yield self._damaged(file, str(error))
        self.num_ignored = self._files.num_others

    @cached_property
    def _columns(self) -> _Columns:
        """The columns as the first file that can be read has them."""
        broken: list[str] = []
        for file in self._files:
            try:
                found = self._describe(file)
            except ImageError as error:
                broken.append(f"{file.name}: {error}")
            else:
                column, id_column, columns = self._wanted
                return _chosen(file.uri, found, column, id_column=id_column, columns=columns)
        said = f"none of {len(broken)} .parquet files in {self._files.uri} can be read, the first is {broken[0]}"
        raise SourceError(said)

    def _ask(self, file: SourceFile, question: dict[str, Any]) -> Any:
        if self._answers is None:
            raise SourceError("source=parquet is read by jobs/embed.py and jobs/repair.py alone")
        ref = {"image_id": file.name, "uri": file.uri, "size_bytes": file.size_bytes, "version": file.version}
        return self._answers(ref, f"parquet {json.dumps(question)}")

    def _describe(self, file: SourceFile) -> dict[str, Any]:
        found: dict[str, Any] = self._ask(file, {})
        num_rows = sum(found["groups"])
        if min(found["groups"], default=0) < 0 or num_rows > file.size_bytes:
            raise _damaged(f"it claims {num_rows} rows in {file.size_bytes} bytes")
        return found

    def _rows_of(self, file: SourceFile) -> Iterator[pa.RecordBatch]:
        found, chosen, first = self._describe(file), self._columns, 0
        if chosen.image not in found["images"]:
            raise _damaged(f"it has no column {chosen.image!r} of bytes, as other files of the source do")
        wanted = {**chosen.own, **({chosen.id: found["columns"].get(chosen.id)} if chosen.id else {})}
        for name, kind in wanted.items():
            if kind is None or found["columns"].get(name) != kind:
                raise _damaged(f"its column {name!r} is missing, or not of the kind it is of in other files")
        for group, num_rows in enumerate(found["groups"]):
            yield from self._rows_of_group(file, group, first, num_rows=num_rows)
            first += num_rows

    def _rows_of_group(self, file: SourceFile, group: int, first: int, *, num_rows: int) -> Iterator[pa.RecordBatch]:
        values: dict[str, list[Any]] = {}
        if self._columns.read:
            values = self._ask(file, {"group": group, "columns": self._columns.read})
            if any(len(column) != num_rows for column in values.values()):
                raise _damaged(f"row group {group} does not have the {num_rows} rows it claims")
        for start in range(0, num_rows, REFS_AT_ONCE):
            end = min(num_rows, start + REFS_AT_ONCE)
            chunk = {name: column[start:end] for name, column in values.items()}
            yield self._batch(file, np.arange(first + start, first + end), chunk)

    def _batch(self, file: SourceFile, rows: np.ndarray, values: dict[str, list[Any]]) -> pa.RecordBatch:
        chosen, numbers = self._columns, pc.cast(pa.array(rows), pa.string())
        if chosen.id is None:
            ids = pc.binary_join_element_wise(file.name, numbers, "#")
        else:
            if None in values[chosen.id]:
                row = rows[values[chosen.id].index(None)]
                said = f"row {row} of {file.uri} has no {chosen.id}"
                raise SourceError(f"{said}: choose another source.id_column, or none, which makes ids file#row")
            ids = pa.array(map(str, values[chosen.id]), pa.string())
        suffix = cast("str", Part(row=0, column=chosen.image).text).removeprefix("row=0")
        parts = pc.binary_join_element_wise("row=", numbers, suffix, "")
        own = [_own(file, name, values[name], kind=kind) for name, kind in chosen.own.items()]
        return self._refs(file, ids, parts, own=own)

    def _damaged(self, file: SourceFile, damage: str) -> pa.RecordBatch:
        own = [pa.nulls(1, KINDS[kind]) for kind in self._columns.own.values()]
        return self._refs(file, pa.array([file.name]), pa.array([Part(damage=damage).text]), own=own)

    def _refs(self, file: SourceFile, ids: pa.Array, parts: pa.Array, *, own: list[pa.Array]) -> pa.RecordBatch:
        sizes_bytes = pa.repeat(pa.scalar(file.size_bytes, pa.int64()), len(ids))
        places = [pa.repeat(file.uri, len(ids)), sizes_bytes, pa.repeat(file.version, len(ids))]
        return pa.RecordBatch.from_arrays([ids, *places, parts, *own], schema=self.schema)


def _chosen(
    uri: str, found: dict[str, Any], column: str | None, *, id_column: str | None, columns: tuple[str, ...] | None
) -> _Columns:
    images, plain = found["images"], found["columns"]
    matching = [path for path in images if column in (None, path, path.removesuffix(".bytes"))]
    if len(matching) != 1:
        asked = "source.column" if column is None else f"source.column={column}"
        raise SourceError(f"{uri}: {asked} has to be one of the columns with bytes, which are: {_list(images)}")
    if id_column is not None and plain.get(id_column) not in ("text", "integer"):
        names = [name for name, kind in plain.items() if kind in ("text", "integer")]
        raise SourceError(f"{uri}: source.id_column={id_column} is none of those of text or integers: {_list(names)}")
    free = _free(plain)
    if columns is None:
        own = {name: kind for name, kind in free.items() if name != id_column}
        if left := [name for name in plain if "." not in name and name not in {*own, id_column}]:
            left_out = ", ".join(map(shown_name, left))
            logger.warning("%s: columns whose names are taken, or no words, are left out: %s", uri, left_out)
    else:
        if wrong := [name for name in columns if name not in free]:
            raise SourceError(f"{uri}: source.columns={wrong[0]} is none of those that can be carried: {_list(free)}")
        own = {name: free[name] for name in columns}
    return _Columns(matching[0], id_column, own)


def _free(plain: Mapping[str, str]) -> dict[str, str]:
    """The columns whose names stand for nothing else, and for no other but for capitals."""
    by_name: dict[str, str] = {}
    for name in plain:
        if refusal_of(name, by_name) is None:
            by_name[name.lower()] = name
    return {name: plain[name] for name in by_name.values()}


def _own(file: SourceFile, name: str, values: list[Any], *, kind: str) -> pa.Array:
    try:
        return pa.array(values, KINDS[kind])
    except OverflowError:
        said = f"column {shown_name(name)} of {file.uri} has numbers of more than 63 bits, which are not carried"
        raise SourceError(f"{said}: {leave_out(name)}") from None


def _damaged(said: str) -> ImageError:
    return ImageError(said, stage="fetch", error_type="DamagedShard", error_class="transient")


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"

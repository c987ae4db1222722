"""One shard against what its commit and the index say of it: bytes, footer, rows, and every number in it.

A flipped bit anywhere shows in the sha256 of the file; page checksums, where they can, then tell which rows it hit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import StoreUnavailableError
from pipeline.featureset.records import FeatureSetRecord, TableFile
from pipeline.featureset.schema import EMBEDDING, IMAGE_FIELDS, shard_schema
from pipeline.maintenance.findings import Kind
from pipeline.maintenance.names import FileName, parse_name
from pipeline.maintenance.reading import read_patiently, unreadable
from pipeline.storage.folder import Folder

Problem = tuple[Kind, str]

# What Arrow raises over bytes that are not what they should be.
_DAMAGE = (OSError, ValueError, MemoryError, pa.ArrowException)
_INDEXED = [*(field.name for field in IMAGE_FIELDS), EMBEDDING.name]


@dataclass(frozen=True)
class ExpectedShard:
    """A shard as its commit names it, and its rows of the index in order; None where they are not known."""

    file: TableFile
    rows: pa.Table | None = None


def check_footer(root: Folder, expected: ExpectedShard, record: FeatureSetRecord) -> list[Problem]:
    """What is wrong with the footer of a shard; reads no more of it.

    Raises:
        StoreUnavailableError, AccessDeniedError: it cannot be told.
    """
    name = expected.file.name

    def look() -> list[Problem]:
        with root.open(name) as stream:
            return list(_footer_problems(pq.ParquetFile(stream), expected.file, record))

    try:
        return read_patiently(root, name, look)
    except FileNotFoundError:
        return [("shard-missing", "is missing")]
    except StoreUnavailableError:
        raise
    except _DAMAGE as error:
        return [("shard-footer", f"has a footer that {unreadable(error)}")]


def check_whole(root: Folder, expected: ExpectedShard, record: FeatureSetRecord) -> list[Problem]:
    """What is wrong with a shard; reads all of it into memory, twice before it is called broken.

    Raises:
        StoreUnavailableError, AccessDeniedError: it cannot be told.
    """
    # What is damaged on its way here is not damaged there.
    return _check_once(root, expected, record) and _check_once(root, expected, record)


def _check_once(root: Folder, expected: ExpectedShard, record: FeatureSetRecord) -> list[Problem]:
    name = expected.file.name
    try:
        data = read_patiently(root, name, lambda: root.read(name))
    except FileNotFoundError:
        return [("shard-missing", "is missing")]
    except StoreUnavailableError:
        raise
    except OSError as error:
        return [("shard-bytes", unreadable(error))]
    return check_bytes(data, expected, record)


def check_bytes(data: bytes, expected: ExpectedShard, record: FeatureSetRecord) -> list[Problem]:
    """What is wrong with the bytes of a shard."""
    if len(data) != expected.file.size_bytes:
        return [("shard-size", f"has {len(data)} bytes, its commit says {expected.file.size_bytes}")]
    if sha256(data).hexdigest() != expected.file.sha256:
        return [("shard-bytes", f"has other bytes than were committed; hit: {_hit(data, expected)}")]
    try:
        return list(_content_problems(data, expected, record))
    except _DAMAGE as error:
        return [("shard-bytes", f"was committed with bytes that are no shard: {unreadable(error)}")]


def _content_problems(data: bytes, expected: ExpectedShard, record: FeatureSetRecord) -> Iterator[Problem]:
    file = _parquet(data)
    yield from (problems := list(_footer_problems(file, expected.file, record)))
    if problems:
        return
    groups = []
    for number in range(file.num_row_groups):
        group = file.read_row_group(number)
        numbers = {EMBEDDING.name: np.concatenate([chunk.flatten() for chunk in group[EMBEDDING.name].chunks])}
        columns = [column for spec in record.maps for column in spec.columns]
        numbers |= {column.name: column.numbers(group[column.name]) for column in columns}
        for column, values in numbers.items():
            if not np.isfinite(values).all():
                yield "shard-numbers", f"has infinite or undefined numbers in {column} of row group {number}"
        groups.append(group.select(_INDEXED))
    if expected.rows is not None and groups:
        yield from _row_problems(pa.concat_tables(groups), expected.rows)


def _footer_problems(file: pq.ParquetFile, said: TableFile, record: FeatureSetRecord) -> Iterator[Problem]:
    if file.metadata.num_rows != said.num_rows:
        yield "shard-footer", f"has {file.metadata.num_rows} rows, its commit says {said.num_rows}"
    named = parse_name(said.name) or FileName("shard")
    weights, schema = record.settings.get("weights", {}), file.schema_arrow
    place = {"run": named.run or 0, "unit": named.unit or 0}
    wanted = shard_schema(record.maps, fingerprint=record.fingerprint, weights=weights, **place)
    if not schema.equals(wanted):
        yield "shard-footer", f"has other columns than this feature set: {', '.join(schema.names)}"
    for key in ("fingerprint", "run", "unit") if named.run else ("fingerprint",):
        full = f"sam2_embed.{key}".encode()
        found = (schema.metadata or {}).get(full)
        if found != wanted.metadata[full]:
            yield "shard-footer", f"says it is of {key} {_text(found)}, not {_text(wanted.metadata[full])}"


def _row_problems(held: pa.Table, indexed: pa.Table) -> Iterator[Problem]:
    if indexed["row"].to_pylist() != list(range(held.num_rows)):
        yield "shard-rows", f"has {held.num_rows} rows, the index names {indexed.num_rows} of them or in another order"
        return
    for name in _INDEXED:
        if held[name].combine_chunks() != indexed[name].combine_chunks():
            pairs = zip(held[name], indexed[name], strict=True)
            row = next((place for place, (one, other) in enumerate(pairs) if one != other), 0)
            yield "shard-rows", f"has another {name} than the index in row {row}"


def _hit(data: bytes, expected: ExpectedShard) -> str:
    """Which rows are damaged, as far as page checksums tell."""
    try:
        hits = list(_damaged_groups(_parquet(data), expected.rows))
    except _DAMAGE:
        return "the footer"
    more = f" and {len(hits) - 3} more" if len(hits) > 3 else ""
    return "; ".join(hits[:3]) + more if hits else "headers or the footer, no row"


def _damaged_groups(file: pq.ParquetFile, rows: pa.Table | None) -> Iterator[str]:
    first = 0
    for number in range(file.num_row_groups):
        end = first + file.metadata.row_group(number).num_rows
        columns = [name for name in file.schema_arrow.names if not _can_be_read(file, number, name)]
        if columns:
            where = f"row {first}" if end - first == 1 else f"rows {first} to {end - 1}"
            known = f" ({rows['image_id'][first].as_py()})" if rows is not None and end - first == 1 else ""
            yield f"{where}{known} in {', '.join(columns)}"
        first = end


def _can_be_read(file: pq.ParquetFile, group: int, column: str) -> bool:
    try:
        file.read_row_group(group, [column])
    except _DAMAGE:
        return False
    return True


def _parquet(data: bytes) -> pq.ParquetFile:
    return pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)


def _text(value: bytes | None) -> str:
    return "nothing" if value is None else value.decode(errors="replace")

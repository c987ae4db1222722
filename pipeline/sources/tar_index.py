"""Where each member of a tar shard lies, found from its headers alone and remembered as a small file for the next run.

The index is of the shard in one version, and holds whatever can be read from it; which members are images is not its
business. That of a damaged shard is not kept: reading may have been at fault.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import StoreUnavailableError
from pipeline.sources.files import SourceFile, place_errors
from pipeline.sources.image_ref import REFS_AT_ONCE
from pipeline.sources.tar_headers import DamagedShardError, members
from pipeline.storage.cache import cache_folder
from pipeline.storage.local import printable
from pipeline.storage.reading import read_uri
from pipeline.storage.trouble import patiently

# Headers lie as far apart as members are long: a store is asked for many at a time, a disk reads on by itself.
_STORE_AHEAD_BYTES, _DISK_AHEAD_BYTES = 1 << 20, 1 << 16
_MAX_NAMES_BYTES = 256 << 20
_TABLE = pa.schema([("name", pa.string()), ("start", pa.int64()), ("end", pa.int64())])
_KEY = b"sam2_embed.tar_index"
_FORMAT = 1


@dataclass(frozen=True)
class PassedOver:
    """Members of a kind that cannot be images of a shard: how many, and which was the first."""

    num_members: int
    first: str


@dataclass(frozen=True)
class TarIndex:
    """The plain files in a tar, in its order.

    Attributes:
        members: name, and the offsets of its first byte and after its last one.
        passed_over: by kind, such as `links`.
        damage: why the rest of the shard is not known; None if all of it is.
    """

    members: pa.Table
    passed_over: dict[str, PassedOver] = field(default_factory=dict)
    damage: str | None = None


def index_of(shard: SourceFile, patience_s: float) -> TarIndex:
    """The index of a shard, from the cache if it has it.

    Raises:
        StoreUnavailableError, AccessDeniedError: it cannot be read, which is not the shard's fault.
    """
    kept = _kept(shard)
    if kept is not None:
        return kept
    index = _read(_reader(shard, patience_s), shard)
    if index.damage is None and shard.version:
        _keep(shard, index)
    return index


def _read(read: Callable[[int, int], bytes], shard: SourceFile) -> TarIndex:
    rows = _Rows()
    try:
        with place_errors(shard.uri, "read"):
            for member in members(read, shard.size_bytes):
                if member.refusal is None:
                    rows.add(printable(member.name), member.start, member.end)
                else:
                    rows.pass_over(member.refusal, printable(member.name[:200]))
    except DamagedShardError as error:
        return rows.index(str(error))
    except StoreUnavailableError:
        raise
    except OSError as error:
        return rows.index(f"it cannot be read: {error.strerror or error}")
    return rows.index(None)


class _Rows:
    """Rows of an index that is being read; few of them are Python objects."""

    def __init__(self) -> None:
        self._chunks: list[pa.RecordBatch] = []
        self._rows: list[tuple[str, int, int]] = []
        self._passed_over: dict[str, PassedOver] = {}
        self._names_bytes = 0

    def add(self, name: str, start: int, end: int) -> None:
        self._rows.append((name, start, end))
        self._names_bytes += len(name)
        if self._names_bytes > _MAX_NAMES_BYTES:
            raise DamagedShardError(f"the names of its members take more than {_MAX_NAMES_BYTES} bytes")
        if len(self._rows) == REFS_AT_ONCE:
            self._flush()

    def pass_over(self, kind: str, name: str) -> None:
        known = self._passed_over.get(kind, PassedOver(0, name))
        self._passed_over[kind] = replace(known, num_members=known.num_members + 1)

    def index(self, damage: str | None) -> TarIndex:
        self._flush()
        return TarIndex(pa.Table.from_batches(self._chunks, _TABLE), self._passed_over, damage)

    def _flush(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [pa.array(column, each.type) for column, each in zip(columns, _TABLE, strict=True)]
            self._chunks.append(pa.record_batch(arrays, schema=_TABLE))
            self._rows = []


def _reader(shard: SourceFile, patience_s: float) -> Callable[[int, int], bytes]:
    """Reads the shard in the version that was listed, some way ahead, and nothing that was skipped."""
    ahead = _STORE_AHEAD_BYTES if "://" in shard.uri else _DISK_AHEAD_BYTES
    first, window = 0, b""

    def read(start: int, end: int) -> bytes:
        nonlocal first, window
        end = min(end, shard.size_bytes)
        if not first <= start <= end <= first + len(window) and start < end:
            last = min(max(end, start + ahead), shard.size_bytes)
            window = patiently(lambda: read_uri(shard.uri, shard.version, start=start, end=last), shard.uri, patience_s)
            first = start
        return window[start - first : end - first] if start < end else b""

    return read


def _cache_file(shard: SourceFile) -> Path:
    return cache_folder() / "tar" / f"{hashlib.sha256(shard.uri.encode()).hexdigest()[:32]}.parquet"


def _facts(shard: SourceFile) -> dict[str, object]:
    return {"format": _FORMAT, **{name: asdict(shard)[name] for name in ("uri", "version", "size_bytes")}}


def _kept(shard: SourceFile) -> TarIndex | None:
    """The index in the cache, if it is of this very shard, and whole."""
    try:
        table = pq.read_table(_cache_file(shard), page_checksum_verification=True, use_threads=False)
        told = json.loads(table.schema.metadata[_KEY])
        passed_over = {kind: PassedOver(**each) for kind, each in told.pop("passed_over").items()}
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None
    if told != {**_facts(shard), "num_rows": table.num_rows} or not table.schema.equals(_TABLE):
        return None
    return TarIndex(table.replace_schema_metadata(None), passed_over)


def _keep(shard: SourceFile, index: TarIndex) -> None:
    """Puts the index into the cache, whole or not at all; a run does without a cache that cannot be written."""
    passed_over = {kind: asdict(each) for kind, each in index.passed_over.items()}
    told = {**_facts(shard), "num_rows": index.members.num_rows, "passed_over": passed_over}
    table = index.members.replace_schema_metadata({_KEY: json.dumps(told)})
    final = _cache_file(shard)
    with suppress(OSError):
        final.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=final.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                pq.write_table(table, file, write_page_checksum=True)
            Path(temporary).replace(final)
        finally:
            Path(temporary).unlink(missing_ok=True)

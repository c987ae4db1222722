"""What is written so far: the records of a feature set, read back and checked.

Run folders and commits are found by listing, but a run exists only by its record and a shard only by its commit.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import AccessDeniedError, FeatureSetError, StoreUnavailableError
from pipeline.featureset import paths
from pipeline.featureset.records import (
    Abandonment,
    CommitRecord,
    FeatureSetRecord,
    Manifest,
    Record,
    RunRecord,
    TableFile,
)
from pipeline.featureset.schema import IMAGE_FIELDS, REMOVED, extra_fields
from pipeline.storage.folder import Folder
from pipeline.storage.spreading import in_threads

R = TypeVar("R", bound=Record)

# What reading raises over a damaged footer, which no checksum covers: its names, types and numbers may be anything.
DAMAGE = (OSError, pa.ArrowException, UnicodeDecodeError, KeyError)


@contextmanager
def listing_errors(root: Folder) -> Iterator[None]:
    """Errors of listing leave the block as ours.

    Raises:
        StoreUnavailableError: the store is in trouble.
        AccessDeniedError: no permission.
        FeatureSetError: it cannot be listed.
    """
    try:
        yield
    except StoreUnavailableError:
        raise
    except PermissionError as error:
        raise AccessDeniedError(f"no permission to list {root.uri}: {error.strerror or error}") from error
    except OSError as error:
        raise FeatureSetError(f"{root.uri} cannot be listed: {error}") from error


@contextmanager
def reading_errors(root: Folder, name: str, kind: str = "") -> Iterator[None]:
    """Errors of reading a file of the set leave the block as ours.

    Args:
        root: the feature set.
        name: of the file.
        kind: what to call it, with a space behind.

    Raises:
        FeatureSetError: it is missing or damaged.
        StoreUnavailableError: the store is in trouble.
        AccessDeniedError: no permission.
    """
    try:
        yield
    except FileNotFoundError:
        raise FeatureSetError(f"{kind}{root.uri_of(name)} is missing; the feature set is damaged") from None
    except PermissionError as error:
        raise AccessDeniedError(f"no permission to read {root.uri_of(name)}: {error.strerror}") from error
    except StoreUnavailableError:
        raise
    except DAMAGE as error:
        raise FeatureSetError(f"{kind}{root.uri_of(name)} is damaged: {error}") from None


def feature_set_record(root: Folder) -> FeatureSetRecord | None:
    """What the set's numbers mean; None where there is no feature set yet."""
    return _read(root, paths.FEATURE_SET, FeatureSetRecord)


def run_numbers(root: Folder) -> list[int]:
    """The numbers of all claimed runs, ascending."""
    with listing_errors(root):
        numbers = sorted(int(name) for name in root.names(paths.RUNS) if name.isdigit())
    return [run for run in numbers if _read(root, paths.run_record(run), RunRecord, run=run) is not None]


def run_record(root: Folder, run: int) -> RunRecord:
    """The claim of a run.

    Raises:
        FeatureSetError: no such run, or its record is damaged.
    """
    record = _read(root, paths.run_record(run), RunRecord, run=run)
    if record is None:
        raise FeatureSetError(f"{root.uri} has no run {run}")
    return record


def run_end(root: Folder, run: int) -> Manifest | Abandonment | None:
    """How a run ended: sealed or abandoned; None while it is open."""
    name = paths.manifest(run)
    data = read_bytes(root, name)
    if data is None:
        return None
    kind = Abandonment if b'"abandoned"' in data else Manifest
    end = kind.from_bytes(data, root.uri_of(name))
    _require_numbers(root, name, end, run=run)
    return end


def manifest(root: Folder, run: int) -> Manifest | None:
    """The seal of a run; None while it is open, and for one that was abandoned."""
    end = run_end(root, run)
    return end if isinstance(end, Manifest) else None


def sealed_runs(root: Folder) -> list[Manifest]:
    """The manifests of all sealed runs, oldest first."""
    found = (manifest(root, run) for run in run_numbers(root))
    return [each for each in found if each is not None]


def sealed_set(root: Folder) -> tuple[FeatureSetRecord, list[Manifest]]:
    """What the numbers of a feature set mean, and its sealed runs, oldest first; at least one.

    Raises:
        FeatureSetError: no feature set there, or none of its runs is sealed.
    """
    record = feature_set_record(root)
    if record is None:
        raise FeatureSetError(f"{root.uri} holds no feature set (there is no {paths.FEATURE_SET})")
    sealed = sealed_runs(root)
    if not sealed:
        raise FeatureSetError(f"{root.uri} is not sealed yet: run the command that writes it again until it is done")
    return record, sealed


def removed_images(root: Folder, sealed: list[Manifest]) -> pa.Table:
    """The ids that the source did not list any more when the last of the runs was planned."""
    removed = run_record(root, sealed[-1].run).removed if sealed else None
    return REMOVED.empty_table() if removed is None else read_table(root, removed)


def committed_units(root: Folder, run: int) -> np.ndarray:
    """The numbers of a run's units that are done, ascending, int64."""
    names = (name.removesuffix(".json") for name in root.names(paths.commits(run)) if name.endswith(".json"))
    with listing_errors(root):
        return np.sort(np.fromiter((int(name) for name in names if name.isdecimal()), np.int64))


def commit_record(root: Folder, run: int, unit: int) -> CommitRecord | None:
    """The commit of a unit; None while there is none."""
    return _read(root, paths.commit(run, unit), CommitRecord, run=run, unit=unit)


def commit_records(root: Folder, run: int) -> list[CommitRecord]:
    """The commits of a run that are there by now, in the order of their units; many are read at once."""
    found = in_threads(partial(commit_record, root, run), committed_units(root, run).tolist())
    return [commit for commit in found if commit is not None]


def carried_fields(root: Folder, run: RunRecord) -> list[pa.Field]:
    """The further columns of the refs in a run's plan, which its index has too.

    Raises:
        FeatureSetError: the plan is missing or damaged.
    """
    with table_file(root, run.plan) as plan:
        return extra_fields(plan.schema_arrow)


def carried_columns(root: Folder, run: RunRecord) -> Iterator[pa.Table]:
    """What a run's plan carries for its index, unit by unit: image_id and further columns, one row an image.

    Raises:
        FeatureSetError: the plan is missing or damaged.
    """
    with table_file(root, run.plan) as plan:
        schema = pa.schema([IMAGE_FIELDS[0], *extra_fields(plan.schema_arrow)])
        for units in plan.iter_batches(columns=schema.names, batch_size=4096):
            images = pa.Table.from_arrays([units[name].flatten() for name in schema.names], schema=schema)
            ends = pc.cumulative_sum(pc.list_value_length(units["image_id"])).to_pylist()
            for start, end in pairwise([0, *ends]):
                yield images.slice(start, end - start)


def read_table(root: Folder, file: TableFile, columns: list[str] | None = None) -> pa.Table:
    """The table a record names.

    Raises:
        FeatureSetError: the file is missing, or its bytes are not those that were written.
    """
    data = read_bytes(root, file.name)
    if data is None:
        raise FeatureSetError(f"{root.uri_of(file.name)} is missing; the feature set is damaged")
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise FeatureSetError(
            f"{root.uri_of(file.name)} is damaged: {len(data)} bytes whose sha256 is not {file.sha256[:12]}..."
        )
    return pq.ParquetFile(pa.BufferReader(data)).read(columns)


@contextmanager
def table_file(root: Folder, file: TableFile) -> Iterator[pq.ParquetFile]:
    """The open table a record names, for reading in pieces; what is read is checked page by page.

    Raises:
        FeatureSetError: the file is missing, or the bytes that were read are not those that were written.
    """
    with reading_errors(root, file.name), root.open(file.name) as stream:
        yield pq.ParquetFile(stream, page_checksum_verification=True)


def read_columns(root: Folder, file: TableFile, columns: list[str]) -> pa.Table:
    """Some columns of the table a record names; what else it holds is not read, so not checked either.

    Raises:
        FeatureSetError: the file is missing, or the bytes that were read are not those that were written.
    """
    with table_file(root, file) as table:
        return table.read(columns).select(columns)  # Parquet passes over a name it does not know in silence


def require_shard_names(root: Folder, table: str, names: pa.Array | pa.ChunkedArray) -> None:
    """Refuses a table that names what no writer of shards does, be it outside of the feature set or in it.

    Raises:
        FeatureSetError: says which table, and what it names.
    """
    is_shard = pc.match_substring_regex(names, f"^(?:{paths.SHARD})$")
    if not pc.all(is_shard, min_count=0).as_py():
        name = names.filter(pc.invert(is_shard))[0].as_py()
        raise FeatureSetError(f"{root.uri_of(table)} names {name!r}, which is no shard of this feature set")


def _read(root: Folder, name: str, kind: type[R], **numbers: int) -> R | None:
    """The record; it must say of itself that it is of these numbers, or it was put in another's place."""
    data = read_bytes(root, name)
    record = None if data is None else kind.from_bytes(data, root.uri_of(name))
    _require_numbers(root, name, record, **numbers)
    return record


def _require_numbers(root: Folder, name: str, record: Record | None, **numbers: int) -> None:
    found = {key: getattr(record, key, None) for key in numbers}
    if record is not None and found != numbers:
        said = " of ".join(f"{key} {value}" for key, value in reversed(found.items()))
        raise FeatureSetError(f"{root.uri_of(name)} is that of {said}; it was put in the place of another")


def read_bytes(root: Folder, name: str) -> bytes | None:
    """The bytes of a small file; None if it is not there.

    Raises:
        AccessDeniedError, StoreUnavailableError, FeatureSetError: it cannot be read.
    """
    try:
        return root.read(name)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise AccessDeniedError(f"no permission to read {root.uri_of(name)}: {error.strerror}") from error
    except StoreUnavailableError:
        raise
    except OSError as error:
        raise FeatureSetError(f"{root.uri_of(name)} cannot be read: {error.strerror or error}") from error

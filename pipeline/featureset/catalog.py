"""What is written so far: the records of a feature set, read back and checked.

Run folders and commits are found by listing, but a run exists only by its record and a shard only by its commit.
"""

import hashlib
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import AccessDeniedError, FeatureSetError
from pipeline.featureset import paths
from pipeline.featureset.records import CommitRecord, FeatureSetRecord, Manifest, Record, RunRecord, TableFile
from pipeline.storage import Folder

R = TypeVar("R", bound=Record)


def feature_set_record(root: Folder) -> FeatureSetRecord | None:
    """What the set's numbers mean; None where there is no feature set yet."""
    return _read(root, paths.FEATURE_SET, FeatureSetRecord)


def run_numbers(root: Folder) -> list[int]:
    """The numbers of all claimed runs, ascending."""
    numbers = [int(name) for name in root.names(paths.RUNS) if name.isdigit()]
    return [run for run in numbers if _read(root, paths.run_record(run), RunRecord) is not None]


def run_record(root: Folder, run: int) -> RunRecord:
    """The claim of a run.

    Raises:
        FeatureSetError: no such run, or its record is damaged.
    """
    record = _read(root, paths.run_record(run), RunRecord)
    if record is None:
        raise FeatureSetError(f"{root.uri} has no run {run}")
    return record


def manifest(root: Folder, run: int) -> Manifest | None:
    """The seal of a run; None while it is open."""
    return _read(root, paths.manifest(run), Manifest)


def committed_units(root: Folder, run: int) -> list[int]:
    """The units of a run that are done, ascending."""
    names = (name for name in root.names(paths.commits(run)) if name.endswith(".json"))
    return [paths.committed_unit(name) for name in names if name.removesuffix(".json").isdecimal()]


def commit_record(root: Folder, run: int, unit: int) -> CommitRecord | None:
    """The commit of a unit; None while there is none."""
    return _read(root, paths.commit(run, unit), CommitRecord)


def read_table(root: Folder, file: TableFile, columns: list[str] | None = None) -> pa.Table:
    """The table a record names.

    Raises:
        FeatureSetError: the file is missing, or its bytes are not those that were written.
    """
    try:
        data = root.read(file.name)
    except FileNotFoundError:
        raise FeatureSetError(f"{root.uri_of(file.name)} is missing; the feature set is damaged") from None
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise FeatureSetError(
            f"{root.uri_of(file.name)} is damaged: {len(data)} bytes whose sha256 is not {file.sha256[:12]}..."
        )
    return pq.ParquetFile(pa.BufferReader(data)).read(columns)


def read_columns(root: Folder, file: TableFile, columns: list[str]) -> pa.Table:
    """Some columns of the table a record names; what else it holds is not read, so not checked either.

    Raises:
        FeatureSetError: the file is missing, or the bytes that were read are not those that were written.
    """
    try:
        with root.open(file.name) as stream:
            return pq.ParquetFile(stream, page_checksum_verification=True).read(columns)
    except FileNotFoundError:
        raise FeatureSetError(f"{root.uri_of(file.name)} is missing; the feature set is damaged") from None
    except (OSError, pa.ArrowInvalid) as error:
        raise FeatureSetError(f"{root.uri_of(file.name)} is damaged: {error}") from None


def _read(root: Folder, name: str, kind: type[R]) -> R | None:
    try:
        data = root.read(name)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise AccessDeniedError(f"no permission to read {root.uri_of(name)}: {error.strerror}") from error
    return kind.from_bytes(data, root.uri_of(name))

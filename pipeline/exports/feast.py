"""Pooled vectors of a feature set for Feast: one Parquet file a sealed run, in a folder that is a feature repository.

A run's file never changes. Feast takes an image's row with the latest `event_timestamp`: when its run was sealed.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import AccessDeniedError, ConfigError, FeatureSetError
from pipeline.exports.feast_repository import DATA, REGISTRY, REPOSITORY_FILES, repository_text
from pipeline.exports.local_output import replacing
from pipeline.featureset import catalog
from pipeline.featureset.records import FeatureSetRecord, Manifest, Record, TableFile
from pipeline.featureset.schema import EMBEDDING
from pipeline.featureset.weights import weights_text
from pipeline.observability.amounts import counted
from pipeline.redaction import shown
from pipeline.storage.folder import Folder

RECORD = "export.json"
_TIME = pa.timestamp("us", "UTC")
_FROM_INDEX = ["image_id", "uri", "original_height", "original_width", "embedding"]
_BATCH_ROWS = 10_000
_LEAST_STEP = timedelta(seconds=1)

# Nothing is marked as never null: Feast cannot infer a schema with such lists in it.
_SCHEMA = pa.schema(
    {
        "image_id": pa.string(),
        "uri": pa.string(),
        "original_height": pa.int32(),
        "original_width": pa.int32(),
        "embedding": EMBEDDING.type,
        "event_timestamp": _TIME,
        "created_timestamp": _TIME,
    }
)


class ExportRecord(Record):
    """What a folder is an export of.

    Attributes:
        fingerprint: of the feature set.
        first_index: sha256 of the index of its first run with features, which names shards as no other set's does;
            where the set lies may change.
    """

    fingerprint: str
    first_index: str


@dataclass(frozen=True)
class FeastExport:
    """What an export did.

    Attributes:
        folder: the feature repository.
        weights: what the features were made with, for people.
        times: event timestamps of all runs in it, ascending.
        num_new_runs: that were written now.
        num_new_images: their rows.
    """

    folder: Path
    weights: str
    times: Sequence[datetime]
    num_new_runs: int
    num_new_images: int

    def text(self) -> str:
        """Lines for people, with the commands that come next."""
        runs = f"{counted(len(self.times), 'run')}, weights {self.weights}"
        is_applied = (self.folder / REGISTRY).exists()
        lines = [f"nothing new to export: {self.folder} has all {runs}"]
        if self.num_new_runs:
            new = f"{counted(self.num_new_images, 'image')} of {counted(self.num_new_runs, 'new run')}"
            lines = [f"exported {new} to {self.folder}, which now has {runs}"]
        if self.num_new_runs or not is_applied:
            commands = self._go_on() if is_applied else self._begin()
            lines.append(f"  in Feast   cd {shlex.quote(str(self.folder))} && {commands}")
        return "\n".join(map(shown, lines))

    def _begin(self) -> str:
        return f"feast apply && feast materialize {self.times[0].isoformat()} {self._end()}"

    def _go_on(self) -> str:
        return f"feast materialize-incremental {self._end()}"

    def _end(self) -> str:
        """A little after the last run: Feast's intervals hold both their ends, and the next is not to load it again."""
        return (self.times[-1] + _LEAST_STEP).isoformat()


def export_feast(uri: str, folder: Path) -> FeastExport:
    """Adds the sealed runs that `folder` lacks, and makes it a feature repository if it is none yet.

    Rows of images that were embedded again, or removed from the source, stay: Feast keeps history.

    Args:
        uri: of the feature set.
        folder: of the export, new or of the same set; `data/` in it holds the Parquet files.

    Raises:
        FeatureSetError: no feature set there, none of its runs is sealed or has features, or it is damaged.
        ConfigError: the folder holds the export of another set, or something else.
        SinkError, AccessDeniedError: the folder cannot be written.
    """
    root = Folder(uri)
    record, sealed = catalog.sealed_set(root)
    timed = [(run, time) for run, time in zip(sealed, event_times(sealed), strict=True) if run.num_embedded]
    if not timed:
        raise FeatureSetError(f"{root.uri} has no image with features, so there is nothing to export")
    _claim(folder, ExportRecord(fingerprint=record.fingerprint, first_index=timed[0][0].index.sha256), root.uri)
    paths = [folder / DATA / f"run-{run.run:06d}.parquet" for run, _ in timed]
    missing = [(run, time, path) for (run, time), path in zip(timed, paths, strict=True) if not path.exists()]
    for run, time, path in missing:
        with replacing(path, beside=folder) as staged:
            _write_run(staged, _batches(root, run.index), schema=_schema(record, run), times=(time, sealed_at(run)))
    length = len(next(_batches(root, timed[0][0].index))["embedding"][0])
    _write_repository(folder, record, length)
    weights, num_images = weights_text(record.settings["weights"]), sum(run.num_embedded for run, *_ in missing)
    return FeastExport(folder, weights, [time for _, time in timed], len(missing), num_images)


def event_times(sealed: Sequence[Manifest]) -> list[datetime]:
    """When each run was sealed, but at least a second after the run before it, whatever clocks said.

    So the last run's row wins, and there is a moment between any two runs at which a materialization can end.
    """
    times: list[datetime] = []
    for run in sealed:
        times.append(max([sealed_at(run), *(time + _LEAST_STEP for time in times[-1:])]))
    return times


def sealed_at(run: Manifest) -> datetime:
    """When the run was sealed, in UTC."""
    return datetime.fromisoformat(run.sealed_at).astimezone(UTC)


def _claim(folder: Path, wanted: ExportRecord, uri: str) -> None:
    """Makes the folder the export of that set, or sees that it is."""
    path = folder / RECORD
    try:
        standing = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        others = [each.name for each in folder.iterdir() if each.name[0] != "."] if folder.is_dir() else []
        if others:
            raise ConfigError(
                f"export.uri={folder} holds {min(others)} and is no export: give an empty or a new folder"
            ) from None
        with replacing(path) as staged:
            staged.write_bytes(wanted.to_bytes())
        return
    except PermissionError as error:
        raise AccessDeniedError(f"no permission to read {path}: {error.strerror or error}") from error
    if ExportRecord.from_bytes(standing, str(path)) != wanted:
        raise ConfigError(
            f"export.uri={folder} holds the export of another feature set than {uri}: give another folder"
        )


def _batches(root: Folder, index: TableFile) -> Iterator[pa.RecordBatch]:
    """What an index says, a piece at a time; its errors are the feature set's, not those of who writes the pieces."""
    with catalog.table_file(root, index) as table:
        for batch in table.iter_batches(_BATCH_ROWS, columns=_FROM_INDEX):
            yield batch.select(_FROM_INDEX)


def _write_run(
    path: Path, batches: Iterator[pa.RecordBatch], *, schema: pa.Schema, times: tuple[datetime, datetime]
) -> None:
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False, write_page_checksum=True) as writer:
        for batch in batches:
            stamps = [pa.repeat(pa.scalar(time, _TIME), batch.num_rows) for time in times]
            writer.write_table(pa.Table.from_arrays([*batch.columns, *stamps], schema=schema))


def _schema(record: FeatureSetRecord, run: Manifest) -> pa.Schema:
    """The columns, with where the file comes from: random weights are called so in every file."""
    weights = weights_text(record.settings["weights"])
    about = {"fingerprint": record.fingerprint, "weights": weights, "run": str(run.run)}
    return _SCHEMA.with_metadata({f"sam2_embed.{key}": value for key, value in about.items()})


def _write_repository(folder: Path, record: FeatureSetRecord, length: int) -> None:
    """The files that are not there; those that are may have been changed by their owner."""
    for name in REPOSITORY_FILES:
        if not (folder / name).exists():
            with replacing(folder / name) as staged:
                staged.write_text(repository_text(name, record, length), encoding="utf-8")

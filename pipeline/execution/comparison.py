"""What a source lists now against what sealed runs hold, compared by DuckDB on disk: no id is a Python object."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Self

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import InputListError
from pipeline.featureset import catalog
from pipeline.featureset.records import Manifest
from pipeline.featureset.schema import REMOVED
from pipeline.maintenance.scratch import create, load, rows_of, scratch_database
from pipeline.sources.image_ref import REFS
from pipeline.storage.folder import Folder

_KNOWN = pa.schema([("image_id", pa.string()), ("version", pa.string()), ("run", pa.int32())])
_FAILED = pa.schema([("image_id", pa.string()), ("run", pa.int32())])
_PLACE = pa.field("place", pa.int64())
_CLASSES = {"none": [], "transient": ["transient"], "all": ["transient", "permanent"]}

# Sums of hashes do not depend on the order; two of them, of 64 bits each, so that no two listings share both.
# Another version of DuckDB may hash otherwise: then the long way is taken until the next run.
_DIGEST = "SELECT count(*), sum(hash(image_id, version)), sum(hash(version, image_id)) FROM listed"
_TWICE = """
SELECT image_id, min(place) + 1, max(place) + 1, arg_min(uri, place), arg_max(uri, place)
FROM listed GROUP BY image_id HAVING count(*) > 1 ORDER BY 2 LIMIT 1
"""
# For an image in several runs the last one counts.
_LAST = "SELECT image_id, arg_max(version, run) AS version, max(run) AS run FROM known GROUP BY image_id"
_TO_EMBED = """
SELECT listed.* EXCLUDE (place) FROM listed LEFT JOIN state USING (image_id)
WHERE state.version IS NULL OR state.version != listed.version
   OR image_id IN (SELECT image_id FROM failed SEMI JOIN state USING (image_id, run))
ORDER BY place
"""
_GONE = "SELECT image_id FROM state ANTI JOIN listed USING (image_id) ORDER BY image_id"


class Comparison:
    """The listing of a source beside the last state of every image in a feature set; made by `of`."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        root: Folder,
        schema: pa.Schema,
        *,
        classes: list[str],
        advice: str = "",
    ) -> None:
        self._connection, self._root, self._schema, self._classes = connection, root, schema, classes
        self._advice = f": {advice}" if advice else ""
        self._sealed = catalog.sealed_runs(root)
        self._has_state = False

    @classmethod
    @contextmanager
    def of(
        cls,
        root: Folder,
        refs: Iterable[pa.RecordBatch],
        schema: pa.Schema = REFS,
        *,
        retry_quarantined: str = "none",
        advice: str = "",
    ) -> Iterator[Self]:
        """The comparison, for the length of the block.

        Args:
            root: the feature set.
            refs: what the source lists.
            schema: of the refs.
            retry_quarantined: which quarantined images count as new: `none`, `transient` or `all`.
            advice: how to make ids unique that are not.

        Raises:
            InputListError: a further column of the refs is of another kind than in a sealed run.
        """
        _require_same_kinds(root, schema)
        with scratch_database() as connection:
            create(connection, "listed", schema.append(_PLACE))
            load(connection, "listed", _in_order(refs))
            yield cls(connection, root, schema, classes=_CLASSES[retry_quarantined], advice=advice)

    @cached_property
    def digest(self) -> str:
        """What changes when the listing does: its length and a hash of all ids and versions, in whatever order."""
        (sums,) = self._connection.execute(_DIGEST).fetchall()
        return "-".join(str(value) for value in sums)

    @property
    def num_listed(self) -> int:
        """How many images the source lists."""
        return int(self.digest.partition("-")[0])

    @property
    def is_unchanged(self) -> bool:
        """Whether the source lists what it did when the last sealed run was planned, and nothing is to be retried."""
        if not self._sealed or self._classes:
            return False
        return catalog.run_record(self._root, self._sealed[-1].run).listing == self.digest

    def to_embed(self) -> Iterator[pa.RecordBatch]:
        """The refs of all images that are new or changed, or are to be tried again; in the order they were listed in.

        That order has images of one file together, which are read together.

        Raises:
            InputListError: two images share an id.
        """
        for image_id, first, last, *uris in self._connection.execute(_TWICE).fetchall():
            places = " and ".join(dict.fromkeys(uris))
            said = f"two images have the id {image_id!r} (in {places}); ids must be unique within a feature set "
            raise InputListError(f"{said}(they are numbers {first} and {last} of what the source lists){self._advice}")
        self._require_state()
        yield from rows_of(self._connection, _TO_EMBED, self._schema)

    def removed(self) -> pa.Table:
        """The ids that sealed runs hold and the source does not list any more, in order."""
        self._require_state()
        return pa.Table.from_batches(rows_of(self._connection, _GONE, REMOVED), REMOVED)

    def _require_state(self) -> None:
        """Loads what sealed runs hold, once it is needed."""
        if self._has_state:
            return
        self._has_state = True
        create(self._connection, "known", _KNOWN)
        load(self._connection, "known", _planned(self._root, self._sealed))
        create(self._connection, "failed", _FAILED)
        load(self._connection, "failed", _failed(self._root, self._sealed, self._classes))
        if len(self._sealed) > 1:
            self._connection.execute(f"CREATE TABLE last AS {_LAST}; CREATE VIEW state AS FROM last")
        else:
            self._connection.execute("CREATE VIEW state AS FROM known")


def _require_same_kinds(root: Folder, schema: pa.Schema) -> None:
    """A column that is text in one run and a number in another could not be read as one."""
    own = {field.name: field.type for field in schema if field.name not in REFS.names}
    for manifest in catalog.sealed_runs(root) if own else []:
        for field in catalog.carried_fields(root, catalog.run_record(root, manifest.run)):
            if own.get(field.name, field.type) != field.type:
                raise InputListError(
                    f"column {field.name!r} of the source is {own[field.name]}, and {field.type} in run {manifest.run} "
                    f"of {root.uri}: make it the same, or leave it out with source.columns"
                )


def _in_order(refs: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The refs with the place of each in the listing: DuckDB does not keep rows in the order they came in."""
    first = 0
    for batch in refs:
        places = pa.array(np.arange(first, first + batch.num_rows))
        yield batch.append_column(_PLACE, places)
        first += batch.num_rows


def _planned(root: Folder, sealed: list[Manifest]) -> Iterator[pa.RecordBatch]:
    """Every id with its version, run by run."""
    for manifest in sealed:
        with catalog.table_file(root, catalog.run_record(root, manifest.run).plan) as plan:
            for units in plan.iter_batches(batch_size=4096, columns=["image_id", "version"]):
                ids, versions = units["image_id"].flatten(), units["version"].flatten()
                yield pa.record_batch([ids, versions, _run(manifest, len(ids))], schema=_KNOWN)


def _failed(root: Folder, sealed: list[Manifest], classes: list[str]) -> Iterator[pa.RecordBatch]:
    """The quarantined ids of some error classes, run by run."""
    for manifest in sealed if classes else []:
        with catalog.table_file(root, manifest.quarantine) as table:
            for rows in table.iter_batches(columns=["image_id", "error_class"]):
                ids = rows["image_id"].filter(pc.is_in(rows["error_class"], pa.array(classes)))
                yield pa.record_batch([ids, _run(manifest, len(ids))], schema=_FAILED)


def _run(manifest: Manifest, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(manifest.run, pa.int32()), count)

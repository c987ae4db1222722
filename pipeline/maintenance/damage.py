"""The images that broken shards hold and whose last sealed run is the broken one: those to be embedded again.

Images that were given up when a run was sealed, because their shard was damaged already, are among them.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.featureset import catalog
from pipeline.featureset.records import Manifest
from pipeline.featureset.schema import PLAN
from pipeline.maintenance.scratch import create, load, rows_of, scratch_database
from pipeline.sinks.seal import SHARD_DAMAGED
from pipeline.storage.folder import Folder

_SUSPECT = pa.schema([("image_id", pa.string()), ("run", pa.int32()), ("shard", pa.string())])
_REF = pa.schema([field.with_type(field.type.value_type) for field in PLAN if field.name != "unit"])


class Damage:
    """The images of broken shards that count; made by `Damage.of`."""

    def __init__(self, root: Folder, scratch: duckdb.DuckDBPyConnection) -> None:
        self._root, self._scratch = root, scratch

    @classmethod
    @contextmanager
    def of(cls, root: Folder, sealed: list[Manifest], broken: Mapping[int, Collection[str]]) -> Iterator[Self]:
        """The damage, for the length of the block.

        Args:
            root: the feature set.
            sealed: its sealed runs whose tables can be read, oldest first.
            broken: by run, the names of its broken shards.

        Raises:
            FeatureSetError: a table of these runs is damaged after all.
        """
        with scratch_database() as scratch:
            create(scratch, "suspect", _SUSPECT)
            for manifest in sealed:
                # Whatever a later run planned for an image counts, be it features or quarantine.
                _strike(scratch, root, manifest)
                load(scratch, "suspect", _in_shards(root, manifest, broken.get(manifest.run, ())))
                load(scratch, "suspect", _given_up(root, manifest))
            yield cls(root, scratch)

    @property
    def num_images(self) -> int:
        """How many there are."""
        return int(self._all("SELECT count(*) FROM suspect")[0][0])

    def shards(self) -> set[tuple[int, str]]:
        """The broken shards with any image that counts, each with its run."""
        return {
            (run, name) for run, name in self._all("SELECT DISTINCT run, shard FROM suspect WHERE shard IS NOT NULL")
        }

    def given_up(self) -> dict[int, int]:
        """By run, how many images of it were given up when it was sealed, and are not embedded since."""
        return dict(self._all("SELECT run, count(*) FROM suspect WHERE shard IS NULL GROUP BY run ORDER BY run"))

    def refs(self) -> Iterator[pa.RecordBatch]:
        """Where the images are, in the version that was listed for the broken run; in the order of their ids."""
        runs = [run for (run,) in self._all("SELECT DISTINCT run FROM suspect")]
        records = {run: catalog.run_record(self._root, run) for run in runs}
        extra = [pa.schema(catalog.carried_fields(self._root, record)) for record in records.values()]
        schema = pa.unify_schemas([_REF, *extra])
        create(self._scratch, "ref", schema)
        for run, record in records.items():
            query = "INSERT INTO ref BY NAME FROM arriving SEMI JOIN (FROM suspect WHERE run = ?) USING (image_id)"
            with catalog.table_file(self._root, record.plan) as table:
                for units in table.iter_batches(batch_size=4096):
                    flat = {name: units[name].flatten() for name in units.schema.names if name != "unit"}
                    self._scratch.register("arriving", pa.table(flat))
                    self._scratch.execute(query, [run])
        yield from rows_of(self._scratch, "FROM ref ORDER BY image_id", schema)

    def _all(self, query: str) -> list[Any]:
        return self._scratch.execute(query).fetchall()


def _strike(scratch: duckdb.DuckDBPyConnection, root: Folder, manifest: Manifest) -> None:
    """Strikes out what this later run planned; reads nothing if nothing is suspected yet."""
    if not scratch.execute("SELECT count(*) FROM suspect").fetchall()[0][0]:
        return
    with catalog.table_file(root, catalog.run_record(root, manifest.run).plan) as plan:
        for units in plan.iter_batches(batch_size=4096, columns=["image_id"]):
            scratch.register("arriving", pa.table({"image_id": units["image_id"].flatten()}))
            scratch.execute("DELETE FROM suspect WHERE image_id IN (FROM arriving)")


def _in_shards(root: Folder, manifest: Manifest, names: Collection[str]) -> Iterator[pa.RecordBatch]:
    """The images in some shards of a run."""
    if not names:
        return
    wanted = pa.array(sorted(names), pa.string())
    with catalog.table_file(root, manifest.index) as index:
        for rows in index.iter_batches(columns=["image_id", "shard"]):
            held = rows.filter(pc.is_in(rows["shard"], wanted))
            yield _suspects(manifest.run, held["image_id"], held["shard"])


def _given_up(root: Folder, manifest: Manifest) -> Iterator[pa.RecordBatch]:
    with catalog.table_file(root, manifest.quarantine) as quarantine:
        for rows in quarantine.iter_batches(columns=["image_id", "error_type"]):
            held = rows.filter(pc.equal(rows["error_type"], SHARD_DAMAGED))
            yield _suspects(manifest.run, held["image_id"], pa.nulls(len(held), pa.string()))


def _suspects(run: int, image_ids: pa.Array, shards: pa.Array) -> pa.RecordBatch:
    runs = pa.repeat(pa.scalar(run, pa.int32()), len(image_ids))
    return pa.record_batch([image_ids, runs, shards], schema=_SUSPECT)

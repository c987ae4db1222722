"""A small feature set made by the real sinks, for tests that need one to look at."""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa

from pipeline.featureset import paths
from pipeline.featureset.maps import MapSpec
from pipeline.featureset.records import CommitRecord, Manifest, QuarantineRow, RunRecord, TableFile, UnitWork
from pipeline.featureset.schema import PLAN, REMOVED
from pipeline.sinks.commits import commit_unit
from pipeline.sinks.feature_sets import claim_feature_set
from pipeline.sinks.runs import Listing, claim_run, next_run
from pipeline.sinks.seal import seal_run
from pipeline.sinks.shards import EmbeddedImages, shard_writer
from pipeline.sinks.tables import write_table
from pipeline.storage.folder import Folder

FINE = MapSpec("fpn_0", 0, (4, 8, 6), "float16", 4)
COARSE = MapSpec("fpn_1", 1, (5, 4, 3), "float16", 8)
MAPS = (FINE, COARSE)
SETTINGS = {
    "weights": {"kind": "random", "seed": 0},
    "features": "fpn",
    "preprocessing": {"side_px": 64},
    "precision": "bf16",
}
SOURCE = {"kind": "directory", "uri": "/data/photos", "suffixes": [".jpg"]}


def map_values(image_id: str, spec: MapSpec, version: str = "1") -> np.ndarray:
    """The (H, W, C) float32 numbers that stand for the image's map."""
    channels, height, width = spec.shape_chw
    rng = np.random.default_rng(zlib.crc32(f"{image_id} {spec.column} {version}".encode()))
    return rng.standard_normal((height, width, channels), dtype=np.float32)


def stored_values(image_id: str, spec: MapSpec, version: str = "1") -> np.ndarray:
    """The same as a shard has them, (H, W, C) in the stored dtype."""
    return map_values(image_id, spec, version).astype(np.dtype(spec.dtype).newbyteorder("<"))


def pooled_values(image_id: str, version: str = "1") -> np.ndarray:
    """The L2-normalised (256,) float32 vector that stands for the image."""
    vector = np.random.default_rng(zlib.crc32(f"{image_id} {version}".encode())).standard_normal(256)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def original_size(image_id: str) -> tuple[int, int]:
    """The (height, width) that stands for the image's own."""
    return 10 + len(image_id), 20 + len(image_id)


def quarantine_row(image_id: str) -> QuarantineRow:
    """Why the image has no features."""
    return QuarantineRow(
        image_id=image_id,
        uri=f"/data/photos/{image_id}",
        stage="decode",
        error_class="permanent",
        error_type="TruncatedImage",
        message=f"{image_id} ends too early",
    )


def plan_of(units: Sequence[Sequence[str]], version: str = "1", first: int = 0) -> pa.Table:
    """The plan of the image ids of each unit, which are numbered from `first`."""
    rows = [
        {
            "unit": unit,
            "image_id": list(ids),
            "uri": [f"/data/photos/{each}" for each in ids],
            "size_bytes": [len(each) for each in ids],
            "version": [version for _ in ids],
        }
        for unit, ids in enumerate(units, start=first)
    ]
    return pa.Table.from_pylist(rows, schema=PLAN)


def _carrying(plan: pa.Table, carried: Mapping[str, Mapping[str, object]]) -> pa.Table:
    for name, values in carried.items():
        kind = pa.list_(pa.array(values.values()).type)
        lists = [[values[image_id] for image_id in ids] for ids in plan["image_id"].to_pylist()]
        plan = plan.append_column(name, pa.array(lists, kind))
    return plan


class SmallSet:
    """A feature set at a path or URI that is written run by run, as an embed command writes it."""

    def __init__(
        self, place: Path | str, maps: tuple[MapSpec, ...] = MAPS, *, no_mem_embed: tuple[float, ...] | None = None
    ) -> None:
        self.root = Folder(place)
        self.uri = self.root.uri
        self.maps = maps
        self.positions = {spec.column: map_values("position", spec) for spec in maps}
        self.record = claim_feature_set(
            self.root, settings=SETTINGS, maps=maps, positions=self.positions, no_mem_embed=no_mem_embed
        )

    def begin(
        self,
        units: Sequence[Sequence[str]],
        version: str = "1",
        *,
        removed: Sequence[str] | None = None,
        carried: Mapping[str, Mapping[str, object]] = MappingProxyType({}),
    ) -> RunRecord:
        """Plans and claims a run of these units, for a source that does not list the `removed` images any more.

        `carried` has the source's own columns, each with its values by image id.
        """
        number = next_run(self.root)
        return claim_run(
            self.root,
            run=number,
            fingerprint=self.record.fingerprint,
            source=SOURCE,
            plan=[_carrying(plan_of([ids], version, unit), carried) for unit, ids in enumerate(units)],
            images_per_unit=max(map(len, units), default=1),
            listing=Listing(removed=None if removed is None else self._write_removed(number, removed)),
        )

    def commit(
        self, run: RunRecord, unit: int, ids: Sequence[str], *, bad: Sequence[str] = (), version: str = "1"
    ) -> CommitRecord:
        """Writes and commits a unit: features of `ids` but for those in `bad`, which go to quarantine."""
        good = [image_id for image_id in ids if image_id not in bad]
        fingerprint = self.record.fingerprint
        with shard_writer(self.root, self.record, run=run.run, unit=unit) as shard:
            if good:
                shard.append(self.images(good, version))
        record = CommitRecord(
            run=run.run,
            unit=unit,
            token=paths.token(),
            fingerprint=fingerprint,
            shard=shard.file,
            rows=shard.rows,
            quarantine=tuple(self.quarantined(image_id) for image_id in ids if image_id in bad),
            work=self.work(unit),
        )
        return commit_unit(self.root, record)

    def embed(
        self,
        units: Sequence[Sequence[str]],
        *,
        bad: Sequence[str] = (),
        version: str = "1",
        removed: Sequence[str] | None = None,
        carried: Mapping[str, Mapping[str, object]] = MappingProxyType({}),
    ) -> Manifest:
        """A whole run: plan, every unit, seal."""
        run = self.begin(units, version, removed=removed, carried=carried)
        for unit, ids in enumerate(units):
            self.commit(run, unit, ids, bad=bad, version=version)
        return seal_run(self.root, run)

    def quarantined(self, image_id: str) -> QuarantineRow:
        """Why that image has no features."""
        return quarantine_row(image_id)

    def work(self, unit: int) -> UnitWork | None:  # noqa: ARG002  sets that say it need the unit
        """How the work on a unit went."""
        return None

    def images(self, ids: Sequence[str], version: str = "1") -> EmbeddedImages:
        """The features that stand for these images."""
        return EmbeddedImages(
            image_ids=list(ids),
            uris=[f"/data/photos/{image_id}" for image_id in ids],
            original_sizes=[original_size(image_id) for image_id in ids],
            maps={spec.column: np.stack([map_values(each, spec, version) for each in ids]) for spec in self.maps},
            embeddings=np.stack([pooled_values(image_id, version) for image_id in ids]),
        )

    def _write_removed(self, run: int, image_ids: Sequence[str]) -> TableFile:
        table = pa.Table.from_arrays([pa.array(image_ids, pa.string())], schema=REMOVED)
        return write_table(self.root, paths.run_table(run, "removed"), table)


def flip_byte(path: Path, *offsets: int) -> None:
    """Changes one bit of a file at each of the offsets."""
    data = bytearray(path.read_bytes())
    for offset in offsets:
        data[offset] ^= 1
    path.write_bytes(bytes(data))

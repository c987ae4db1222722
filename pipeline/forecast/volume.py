"""What a run writes, in bytes: those of its maps by their shapes, and the rest as the code that writes it says.

Maps are stored as they are. What comes with them is written to nowhere for one image and for two, whose maps have one
cell each; ids and URIs are some of the source's own, and pooled vectors, which are compressed, are random ones.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from pipeline.featureset import paths
from pipeline.featureset.index import index_rows, index_table, shards_table
from pipeline.featureset.maps import MapSpec, level_maps, position_spec
from pipeline.featureset.records import CommitRecord, FeatureSetRecord, TableFile, UnitWork
from pipeline.featureset.schema import INDEX, SHARDS, shard_schema
from pipeline.observability.accounting import ACTIVITIES, PAUSES
from pipeline.sinks.hashing import hashed
from pipeline.sinks.shards import EmbeddedImages, ShardWriter
from pipeline.sinks.tables import TableWriter

# Of a pooled vector, and of the position encoding of a map.
_CHANNELS = 256
_STEPS = ("commit", "fetch", "decode", "resize", "encode", "audit", "write")
# featureset.json, README.md, croissant.json; and run.json, manifest.json, plan, index, shards, quarantine.
_SET_FILES, _RUN_FILES = 3, 6
# README.md and croissant.json are a few kB each; records, one.
_DESCRIPTION_BYTES = 20_000


@dataclass(frozen=True)
class Volume:
    """Bytes of a run, and of what they are made.

    Attributes:
        num_images: that are embedded; none is taken to be bad.
        images_per_unit: of every unit but the last.
        map_bytes: an image's, by column, exact.
        image_bytes: what an image adds to its shard.
        unit_bytes: what a shard has beside its images.
        beside_bytes: commits, plan, index, tables and, of a new set, what is stored once.
        num_files: beside shards and commits.
    """

    num_images: int
    images_per_unit: int
    map_bytes: dict[str, int]
    image_bytes: float
    unit_bytes: float
    beside_bytes: int
    num_files: int

    @property
    def num_units(self) -> int:
        """Units, which are shards and commits too."""
        return -(-self.num_images // self.images_per_unit)

    @property
    def shard_bytes(self) -> int:
        """All shards."""
        return round(self.num_images * self.image_bytes + self.num_units * self.unit_bytes)

    @property
    def whole_shard_bytes(self) -> int:
        """A shard of a whole unit."""
        return round(min(self.images_per_unit, self.num_images) * self.image_bytes + self.unit_bytes)

    @property
    def total_bytes(self) -> int:
        """Everything."""
        return self.shard_bytes + self.beside_bytes

    @property
    def num_objects(self) -> int:
        """Files or objects: a shard and a commit a unit, and the others."""
        return 2 * self.num_units + self.num_files

    def storing(self, maps: tuple[MapSpec, ...], images_per_unit: int) -> "Volume":
        """The same images with other maps."""
        map_bytes = {spec.column: spec.size_bytes for spec in maps}
        image_bytes = self.image_bytes - sum(self.map_bytes.values()) + sum(map_bytes.values())
        return replace(self, map_bytes=map_bytes, image_bytes=image_bytes, images_per_unit=images_per_unit)


class Nowhere(io.RawIOBase):
    """Takes bytes and keeps none."""

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: object, /) -> int:
        """Says that all were taken."""
        return memoryview(data).nbytes  # type: ignore[arg-type]


def written_bytes(schema: pa.Schema, tables: Iterable[pa.Table]) -> int:
    """Bytes of a Parquet file of these tables, each a row group, as a feature set has it."""
    writer = TableWriter("nowhere", hashed(Nowhere()), schema)  # type: ignore[arg-type]
    for table in tables:
        writer.append(table)
    writer.close()
    return writer.file.size_bytes


def measured_volume(
    record: FeatureSetRecord,
    images: Sequence[tuple[str, str]],
    *,
    num_images: int,
    images_per_unit: int,
    images_per_batch: int,
    plan_bytes: int,
    is_new: bool,
) -> Volume:
    """The volume of a run.

    Args:
        record: of the feature set, which need not be there.
        images: ids and URIs of some of its images.
        num_images: that are to be embedded.
        images_per_unit: of every unit but the last.
        images_per_batch: of a forward pass, which become one row group if there are no maps.
        plan_bytes: of the plan.
        is_new: whether the run makes the feature set.
    """
    group = 1 if record.maps else min(images_per_batch, images_per_unit)
    maps = tuple(replace(spec, shape_chw=(spec.shape_chw[0], 1, 1)) for spec in record.maps)
    left_out = sum(spec.size_bytes for spec in record.maps) - sum(spec.size_bytes for spec in maps)
    one_cell = record.model_copy(update={"maps": maps})
    shard = _line(lambda count: _shard_bytes(one_cell, images, count * group, per_group=group))
    commit = _line(lambda count: len(_commit(record, images, count).to_bytes()))
    index = _line(lambda count: written_bytes(INDEX, [index_table(_commit(record, images, 32 * count))]))
    tables = _line(lambda count: written_bytes(SHARDS, [shards_table([_commit(record, images, 1)] * 32 * count)]))
    num_units = -(-num_images // images_per_unit)
    beside = num_units * (commit[0] + tables[1] / 32) + num_images * (commit[1] + index[1] / 32)
    once = _position_bytes(record.maps) + _DESCRIPTION_BYTES + len(record.to_bytes()) if is_new else 0
    return Volume(
        num_images=num_images,
        images_per_unit=images_per_unit,
        map_bytes={spec.column: spec.size_bytes for spec in record.maps},
        image_bytes=shard[1] / group + left_out,
        unit_bytes=shard[0],
        beside_bytes=round(beside + index[0] + tables[0] + plan_bytes + once),
        num_files=_RUN_FILES + (_SET_FILES + bool(record.maps) if is_new else 0),
    )


def _line(size_bytes: Callable[[int], int]) -> tuple[float, float]:
    """What there is of none, and what each adds."""
    one, two = size_bytes(1), size_bytes(2)
    return 2 * one - two, two - one


def _position_bytes(maps: tuple[MapSpec, ...]) -> int:
    return sum(position_spec(spec, _CHANNELS).size_bytes for spec in level_maps(maps))


def _embedded(maps: tuple[MapSpec, ...], images: Sequence[tuple[str, str]], count: int) -> EmbeddedImages:
    """So many images, with maps of zeros."""
    chosen = [images[number % len(images)] for number in range(count)]
    vectors = np.random.default_rng(0).standard_normal((count, _CHANNELS)).astype(np.float32)
    columns = [column for spec in maps for column in spec.columns]
    return EmbeddedImages(
        image_ids=[image_id for image_id, _ in chosen],
        uris=[uri for _, uri in chosen],
        original_sizes=[(1080 + number % 7, 1920 + number % 5) for number in range(count)],
        maps={column.name: np.zeros((count, *column.shape), column.dtype) for column in columns},
        embeddings=vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
    )


def _shard_bytes(record: FeatureSetRecord, images: Sequence[tuple[str, str]], count: int, *, per_group: int) -> int:
    weights = record.settings["weights"]
    schema = shard_schema(record.maps, fingerprint=record.fingerprint, weights=weights, run=1, unit=1)
    writer = TableWriter("nowhere", hashed(Nowhere()), schema)  # type: ignore[arg-type]
    shard = ShardWriter(lambda: writer, schema, record.maps)
    for _ in range(count // per_group):
        shard.append(_embedded(record.maps, images, per_group))
    writer.close()
    return writer.file.size_bytes


def _commit(record: FeatureSetRecord, images: Sequence[tuple[str, str]], count: int) -> CommitRecord:
    """A commit of so many images, with all that one holds."""
    embedded, now = _embedded((), images, count), 1.7e9 + 1 / 3
    file = TableFile(name=paths.shard(1, 1), num_rows=count, size_bytes=10**8, sha256="0" * 64)
    sizes = embedded.original_sizes
    return CommitRecord(
        run=1,
        unit=1,
        token=paths.token(),
        fingerprint=record.fingerprint,
        shard=file,
        rows=index_rows(embedded.image_ids, embedded.uris, sizes, embeddings=embedded.embeddings),
        quarantine=(),
        work=UnitWork(
            command=paths.token(),
            command_began=now,
            encoder=paths.token(),
            began=now,
            until=now,
            account=dict.fromkeys((*ACTIVITIES, *PAUSES), 1 / 3),
            seconds=dict.fromkeys(_STEPS, 1 / 3),
        ),
    )

"""What a run has to do: images that are new or changed since the last sealed run, cut into units."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pyarrow as pa

from pipeline.errors import ConfigError
from pipeline.featureset import catalog
from pipeline.featureset.schema import PLAN, MapSpec
from pipeline.sources.image_ref import ImageRef
from pipeline.storage import Folder

_SHARD_BYTES = 384 * 2**20
_PIXEL_BYTES = 128 * 2**20
_MAX_IMAGES = 64


def images_per_unit(maps: tuple[MapSpec, ...], side_px: int) -> int:
    """How many images make a unit: shards of up to 384 MiB, pixels between two steps up to 128 MiB, at most 64."""
    feature_bytes = max(sum(spec.size_bytes for spec in maps), 1)
    pixel_bytes = 3 * side_px * side_px * 4
    return max(1, min(_SHARD_BYTES // feature_bytes, _PIXEL_BYTES // pixel_bytes, _MAX_IMAGES))


def not_yet_embedded(root: Folder, refs: Iterable[ImageRef]) -> Iterator[ImageRef]:
    """The images that no sealed run holds in this version, as features or as quarantine.

    Raises:
        ConfigError: two images share an id.
    """
    done = _sealed_versions(root)
    seen: set[str] = set()
    for ref in refs:
        if ref.image_id in seen:
            raise ConfigError(f"two images have the id {ref.image_id!r}; ids must be unique within a feature set")
        seen.add(ref.image_id)
        if done.get(ref.image_id) != ref.version:
            yield ref


def cut_units(refs: Iterable[ImageRef], size: int) -> pa.Table:
    """The plan: one row a unit, `size` images each but for the last, in the order given."""
    rows: list[dict[str, Any]] = []
    remaining = iter(refs)
    while images := list(islice(remaining, size)):
        rows.append(
            {
                "unit": len(rows),
                "image_id": [ref.image_id for ref in images],
                "uri": [ref.uri for ref in images],
                "size_bytes": [ref.size_bytes for ref in images],
                "version": [ref.version for ref in images],
            }
        )
    return pa.Table.from_pylist(rows, schema=PLAN)


def _sealed_versions(root: Folder) -> dict[str, str]:
    versions: dict[str, str] = {}
    for run in catalog.run_numbers(root):
        if catalog.manifest(root, run) is None:
            continue
        plan = catalog.read_table(root, catalog.run_record(root, run).plan, ["image_id", "version"])
        ids, seen = (plan[name].combine_chunks().flatten().to_pylist() for name in ("image_id", "version"))
        versions.update(zip(ids, seen, strict=True))
    return versions

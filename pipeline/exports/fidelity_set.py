"""A feature set of one unit, written and read by the real sinks and the real reader, to be timed."""

import time
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pipeline.featureset import paths
from pipeline.featureset.maps import MapSpec, level_maps
from pipeline.featureset.records import CommitRecord
from pipeline.featureset.schema import PLAN
from pipeline.model.outputs import StoredFeatures
from pipeline.readers.feature_set import open_features
from pipeline.readers.row import FeatureRow
from pipeline.sinks.commits import commit_unit
from pipeline.sinks.feature_sets import claim_feature_set
from pipeline.sinks.runs import claim_run
from pipeline.sinks.seal import seal_run
from pipeline.sinks.shards import EmbeddedImages, shard_writer
from pipeline.storage.folder import Folder

_SETTINGS = {"weights": {"kind": "random", "seed": 0}, "precision": "fp32"}


class StoredSet:
    """A feature set that nobody keeps.

    Args:
        folder: an empty one.
        maps: of its rows.
        no_mem_embed: of the record.
    """

    def __init__(self, folder: str, maps: tuple[MapSpec, ...], no_mem_embed: tuple[float, ...] | None) -> None:
        self._root = Folder(folder)
        positions = {spec.column: np.zeros((*spec.shape_chw[1:], 1), np.float32) for spec in level_maps(maps)}
        self._record = claim_feature_set(
            self._root, settings=_SETTINGS, maps=maps, positions=positions, no_mem_embed=no_mem_embed
        )

    def write(self, images: Sequence[tuple[str, tuple[int, int]]], features: Sequence[StoredFeatures]) -> float:
        """Writes and seals a run of these images (id, (height, width)); gives the seconds that the shard took."""
        ids = [image_id for image_id, _ in images]
        unit = {"unit": 0, "image_id": ids, "uri": ids, "size_bytes": [0] * len(ids), "version": [""] * len(ids)}
        plan, fingerprint = pa.Table.from_pylist([unit], schema=PLAN), self._record.fingerprint
        run = claim_run(self._root, run=1, fingerprint=fingerprint, source={}, plan=[plan], images_per_unit=len(ids))
        began = time.perf_counter()
        with shard_writer(self._root, self._record, run=1, unit=0) as shard:
            for (image_id, size), values in zip(images, features, strict=True):
                shard.append(EmbeddedImages([image_id], [image_id], [size], values.maps, values.embeddings))
        seconds = time.perf_counter() - began
        commit = CommitRecord(
            run=1,
            unit=0,
            token=paths.token(),
            fingerprint=fingerprint,
            shard=shard.file,
            rows=shard.rows,
            quarantine=(),
        )
        commit_unit(self._root, commit)
        seal_run(self._root, run)
        return seconds

    def read(self) -> tuple[list[FeatureRow], float]:
        """The rows, in the order they were written in, and the seconds that reading them took once it was open."""
        features = open_features(self._root.uri)
        ids = features.image_ids
        began = time.perf_counter()
        rows = [features[image_id] for image_id in ids]
        return rows, time.perf_counter() - began

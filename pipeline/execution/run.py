"""One embed command, from its configuration to a sealed run.

What is wrong with the command shows before Ray starts and before any image is read.
"""

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import JobConfig
from pipeline.errors import RunIncompleteError, SourceError
from pipeline.execution.cluster import Cluster, open_cluster
from pipeline.execution.encode import EncoderSettings, SinkSettings
from pipeline.execution.graph import embed_units
from pipeline.execution.plan import cut_units, images_per_unit, not_yet_embedded
from pipeline.execution.resources import Placement, place_encoders
from pipeline.featureset import catalog
from pipeline.featureset.fingerprint import CODE_VERSION
from pipeline.featureset.records import FeatureSetRecord, Manifest, RunRecord
from pipeline.featureset.schema import MapSpec
from pipeline.model.build import EncoderConfig, check_checkpoint, load_encoder_config, resolve_precision
from pipeline.model.outputs import map_specs, position_encodings
from pipeline.model.weights import Weights, local_copy, resolve_weights
from pipeline.observability.progress import RunProgress
from pipeline.observability.summary import RunSummary
from pipeline.observability.timing import Stopwatch
from pipeline.preprocessing.transform import DESCRIPTION
from pipeline.sinks.feature_sets import claim_feature_set, require_same_settings
from pipeline.sinks.runs import claim_run, open_run
from pipeline.sinks.seal import seal_run
from pipeline.sources.image_ref import Source
from pipeline.sources.opening import open_source
from pipeline.storage import Folder


def embed(config: JobConfig) -> RunSummary:
    """Embeds every image of the source that the feature set does not hold yet, and seals the run.

    Raises:
        ConfigError: the command is wrong; nothing was written.
        RunConflictError: another run or other settings own the feature set.
        RunIncompleteError, RunDrainedError: the run stopped early; the same command continues it.
        SinkError, AccessDeniedError: the sink cannot be written.
    """
    began, watch = time.monotonic(), Stopwatch()
    task = _check(config)
    with open_cluster(config.execution.ray_address, logs=config.execution.ray_logs) as cluster:
        placement = place_encoders(
            cluster.nodes(), device=config.execution.device, num_encoders=config.execution.num_encoders
        )
        with watch.step("plan"):
            settings = task.settings(placement, config)
            run = _resume(task, settings) or _begin(task, settings, config.execution.images_per_unit)
        if run is not None:
            _embed_units(task, run, cluster=cluster, placement=placement, config=config, watch=watch)
    if run is None:
        return task.summary(None, wall_s=time.monotonic() - began, watch=watch, placement=placement)
    with watch.step("seal"):
        manifest = seal_run(task.root, run)
    return task.summary(manifest, wall_s=time.monotonic() - began, watch=watch, placement=placement)


@dataclass(frozen=True)
class _Task:
    """What the configuration named, opened and checked."""

    root: Folder
    source: Source
    encoder: EncoderConfig
    weights: Weights
    side_px: int
    maps: tuple[MapSpec, ...]

    def settings(self, placement: Placement, config: JobConfig) -> dict[str, Any]:
        """Everything that can change a number; what `auto` meant when the set was made stays what it means."""
        precision = config.execution.precision
        standing = catalog.feature_set_record(self.root)
        if precision == "auto" and standing is not None:
            precision = standing.settings["precision"]
        return {
            "code_version": CODE_VERSION,
            "encoder": self.encoder.tree,
            "weights": self.weights.identity,
            "preprocessing": {**DESCRIPTION, "side_px": self.side_px},
            "features": config.features.kind,
            "storage_dtype": config.features.storage_dtype,
            "precision": resolve_precision(precision, placement.device),
        }

    def summary(
        self, manifest: Manifest | None, *, wall_s: float, watch: Stopwatch, placement: Placement
    ) -> RunSummary:
        """What the command did; without a manifest there was nothing to do."""
        reasons: Counter[str] = Counter()
        if manifest is not None:
            quarantine = catalog.read_table(self.root, manifest.quarantine, ["error_type"])
            reasons.update(quarantine["error_type"].to_pylist())
        return RunSummary(
            uri=self.root.uri,
            model=self.encoder.name,
            checkpoint=self.weights.label,
            run=manifest.run if manifest else None,
            num_planned=manifest.num_planned if manifest else 0,
            num_embedded=manifest.num_embedded if manifest else 0,
            num_quarantined=manifest.num_quarantined if manifest else 0,
            num_shards=manifest.shards.num_rows if manifest else 0,
            size_bytes=manifest.size_bytes if manifest else 0,
            wall_s=wall_s,
            num_encoders=placement.num_encoders,
            num_ignored=self.source.num_ignored,
            seconds=watch.seconds,
            quarantined=dict(reasons.most_common()),
        )


def _check(config: JobConfig) -> _Task:
    root = Folder(config.sink.uri)
    root.require_writable()
    source = open_source(config.source.kind, config.source.uri, config.source.suffixes)
    encoder = load_encoder_config(config.model.config or config.model.name, config.model.overrides)
    side_px = config.preprocess.side_px or encoder.side_px
    maps = map_specs(encoder.tree, side_px=side_px, kind=config.features.kind, dtype=config.features.storage_dtype)
    assert config.model.checkpoint is not None, "the configuration is checked before"
    weights = resolve_weights(config.model.checkpoint, encoder.name)
    if weights.kind != "random":
        check_checkpoint(encoder.tree, local_copy(weights))
    return _Task(root, source, encoder, weights, side_px, maps)


def _resume(task: _Task, settings: dict[str, Any]) -> RunRecord | None:
    standing = catalog.feature_set_record(task.root)
    if standing is None:
        return None
    require_same_settings(task.root, standing, settings)
    return open_run(task.root, task.source.description)


def _begin(task: _Task, settings: dict[str, Any], size: int | None) -> RunRecord | None:
    """Plans and claims a run of all images that are new or changed; None when there are none."""
    refs = not_yet_embedded(task.root, task.source.refs())
    plan = cut_units(refs, size or images_per_unit(task.maps, task.side_px))
    record = catalog.feature_set_record(task.root)
    if plan.num_rows == 0:
        if record is not None and catalog.run_numbers(task.root):
            return None
        raise SourceError(
            f"no images in {task.source.description.get('uri')}: {task.source.num_ignored} files were passed over "
            "because of their names; source.suffixes=null takes every file"
        )
    if record is None:
        record = _claim(task, settings)
    return claim_run(task.root, fingerprint=record.fingerprint, source=task.source.description, plan=plan)


def _claim(task: _Task, settings: dict[str, Any]) -> FeatureSetRecord:
    positions = position_encodings(task.encoder.tree, task.maps)
    return claim_feature_set(task.root, settings=settings, maps=task.maps, positions=positions)


def _embed_units(
    task: _Task,
    run: RunRecord,
    *,
    cluster: Cluster,
    placement: Placement,
    config: JobConfig,
    watch: Stopwatch,
) -> None:
    """Works through the units of the run that are not committed yet."""
    plan = catalog.read_table(task.root, run.plan)
    committed = pa.array(catalog.committed_units(task.root, run.run), pa.int32())
    remaining = plan.filter(pc.invert(pc.is_in(plan["unit"], committed)))
    left = _num_images(remaining)
    if not left:
        return
    cluster.connect()
    record = catalog.feature_set_record(task.root)
    assert record is not None, "the run was claimed in it"
    encoder = EncoderSettings(
        tree=task.encoder.tree,
        weights=task.weights,
        device=placement.device,
        precision=record.settings["precision"],
        num_threads=placement.num_threads,
        images_per_batch=config.execution.images_per_batch or (8 if placement.device == "cuda" else 1),
    )
    sink = SinkSettings(task.root.uri, run.run, record)
    receipts = embed_units(remaining, side_px=task.side_px, placement=placement, encoder=encoder, sink=sink)
    with RunProgress(total=run.num_images, done=run.num_images - left) as progress:
        for receipt in receipts:
            watch.add(receipt.seconds)
            num_images = receipt.num_embedded + receipt.num_quarantined
            progress.advance(num_images=num_images, num_quarantined=receipt.num_quarantined)
            left -= num_images
    if left:
        raise RunIncompleteError(f"{left} images of run {run.run} are not committed; run the same command again")


def _num_images(plan: pa.Table) -> int:
    return int(pc.sum(pc.list_value_length(plan["image_id"])).as_py() or 0)

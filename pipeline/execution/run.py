"""One embed command, from its configuration to a sealed run.

What is wrong with the command shows before Ray starts and before any image is read.
"""

import time
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import ExecutionConfig, JobConfig
from pipeline.errors import RunIncompleteError
from pipeline.execution.cluster import Cluster, open_cluster
from pipeline.execution.encode import EncoderSettings, SinkSettings
from pipeline.execution.graph import embed_units
from pipeline.execution.resources import Placement, place_encoders
from pipeline.execution.task import Task
from pipeline.featureset import catalog
from pipeline.featureset.records import Manifest, RunRecord
from pipeline.observability.progress import RunProgress, announce
from pipeline.observability.summary import RunSummary
from pipeline.observability.timing import Stopwatch
from pipeline.sinks.seal import seal_run


def embed(config: JobConfig) -> RunSummary:
    """Embeds every image of the source that the feature set does not hold yet, and seals the run.

    Raises:
        ConfigError: the command is wrong; nothing was written.
        RunConflictError: another run or other settings own the feature set.
        RunIncompleteError, RunDrainedError: the run stopped early; the same command continues it.
        SinkError, AccessDeniedError: the sink cannot be written.
    """
    began, watch = time.monotonic(), Stopwatch()
    task, execution = Task.of(config), config.execution
    with open_cluster(execution.ray_address, logs=execution.ray_logs) as cluster:
        placement = place_encoders(cluster.nodes(), device=execution.device, num_encoders=execution.num_encoders)
        with watch.step("plan"):
            run = task.open_run(task.settings(config, placement.device), execution.images_per_unit)
        if run is None:
            return _nothing_to_do(task, time.monotonic() - began)
        _embed_remaining(task, run, cluster, placement=placement, execution=execution, watch=watch)
    with watch.step("seal"):
        manifest = seal_run(task.root, run)
    return _summary(task, manifest, watch, wall_s=time.monotonic() - began, num_encoders=placement.num_encoders)


def _embed_remaining(
    task: Task,
    run: RunRecord,
    cluster: Cluster,
    *,
    placement: Placement,
    execution: ExecutionConfig,
    watch: Stopwatch,
) -> None:
    """Works through the units of the run that are not committed yet."""
    plan = catalog.read_table(task.root, run.plan)
    committed = pa.array(catalog.committed_units(task.root, run.run), pa.int32())
    remaining = plan.filter(pc.invert(pc.is_in(plan["unit"], committed)))
    left = int(pc.sum(pc.list_value_length(remaining["image_id"])).as_py() or 0)
    if not left:
        return
    encoders = f"encoders: {placement.num_encoders} on {placement.device}"
    announce(f"run {run.run}: {left} of {run.num_images} images to embed, in {remaining.num_rows} units; {encoders}")
    cluster.connect()
    record = catalog.feature_set_record(task.root)
    assert record is not None, "the run was claimed in it"
    encoder = EncoderSettings(
        tree=task.encoder.tree,
        weights=task.weights,
        device=placement.device,
        precision=record.settings["precision"],
        num_threads=placement.num_threads,
        images_per_batch=execution.images_per_batch or (8 if placement.device == "cuda" else 1),
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


def _nothing_to_do(task: Task, wall_s: float) -> RunSummary:
    manifests = [catalog.manifest(task.root, run) for run in catalog.run_numbers(task.root)]
    num_quarantined = sum(manifest.num_quarantined for manifest in manifests if manifest)
    return RunSummary(
        uri=task.root.uri,
        model=task.encoder.name,
        checkpoint=task.weights.label,
        run=None,
        num_quarantined=num_quarantined,
        wall_s=wall_s,
    )


def _summary(task: Task, manifest: Manifest, watch: Stopwatch, *, wall_s: float, num_encoders: int) -> RunSummary:
    quarantine = catalog.read_table(task.root, manifest.quarantine, ["error_type"])
    reasons = Counter(quarantine["error_type"].to_pylist())
    return RunSummary(
        uri=task.root.uri,
        model=task.encoder.name,
        checkpoint=task.weights.label,
        run=manifest.run,
        num_planned=manifest.num_planned,
        num_embedded=manifest.num_embedded,
        num_quarantined=manifest.num_quarantined,
        num_shards=manifest.shards.num_rows,
        size_bytes=manifest.size_bytes,
        wall_s=wall_s,
        num_encoders=num_encoders,
        num_ignored=task.source.num_ignored,
        seconds=watch.seconds,
        quarantined=dict(reasons.most_common()),
    )

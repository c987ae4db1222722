"""One embed command, from its configuration to a sealed run.

What is wrong with the command shows before Ray starts and before any image is read.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa

from pipeline.config import ExecutionConfig, JobConfig
from pipeline.errors import PipelineError, RunIncompleteError
from pipeline.execution.audit import AuditPlan
from pipeline.execution.blocks import Receipt
from pipeline.execution.cluster import Cluster, node_here, open_cluster
from pipeline.execution.encode import Command, EncoderSettings, SinkSettings
from pipeline.execution.fetch import FetchAndDecode
from pipeline.execution.gate import Gate
from pipeline.execution.graph import embed_units
from pipeline.execution.metrics import RunMetrics
from pipeline.execution.report import report_at_end
from pipeline.execution.resources import Placement, first_need, place_encoders
from pipeline.execution.stopping import draining
from pipeline.execution.task import Task, decode_limits
from pipeline.execution.units import ReadUnits, groups_of, num_images, parts_of, remaining_units
from pipeline.exports.describe import describe
from pipeline.featureset import catalog, paths
from pipeline.featureset.records import Manifest, RunRecord
from pipeline.forecast.disk import Room
from pipeline.observability.accounting import Accounts
from pipeline.observability.events import UnitEvent, tell
from pipeline.observability.failures import Failures
from pipeline.observability.progress import RunProgress, announce
from pipeline.observability.summary import RunSummary
from pipeline.observability.timing import Stopwatch
from pipeline.sinks.seal import seal_run

# A cluster gives a process half a minute between asking it to end and ending it; Ray wants some of that.
_DRAIN_S = 12.0


def embed(config: JobConfig) -> RunSummary:
    """Embeds every image of the source that the feature set does not hold yet, and seals the run.

    Raises:
        ConfigError: the command is wrong; nothing was written.
        RunConflictError: another run or other settings own the feature set.
        RunIncompleteError, RunDrainedError: the run stopped early; the same command continues it.
        TooManyFailedError: more images failed than `run.max_failed_share` allows.
        SinkError, AccessDeniedError: the sink cannot be written.
    """
    began = time.monotonic()
    task, size, retried = Task.of(config), config.execution.images_per_unit, config.run.retry_quarantined
    choose = partial(task.open_run, num_images=size, retry_quarantined=retried)
    return embed_run(task, config, choose=choose, began=began) or _nothing_to_do(task, time.monotonic() - began)


def embed_run(
    task: Task, config: JobConfig, *, choose: Callable[[dict[str, Any]], RunRecord | None], began: float
) -> RunSummary | None:
    """Embeds what is left of a run and seals it; None if there is no run.

    Args:
        task: what the command names.
        config: of the command.
        choose: gives the run to work on, for the settings.
        began: when the work on it began, by the monotonic clock, in seconds.

    Raises:
        PipelineError: as `embed`, or what `choose` raised.
    """
    watch, execution = Stopwatch(), config.execution
    allow_unauthenticated = execution.allow_unauthenticated_ray
    with open_cluster(
        execution.ray_address, logs=execution.ray_logs, allow_unauthenticated=allow_unauthenticated
    ) as cluster:
        placement = place_encoders(
            cluster.nodes(first_need(execution.device), execution.wait_for_nodes_s),
            device=execution.device,
            num_encoders=execution.num_encoders,
            can_grow=cluster.can_grow,
        )
        with watch.step("plan"):
            run = choose(task.settings(config, placement.device))
        if run is None:
            return None
        account = _Work(task, run, config=config, placement=placement).embed_remaining(cluster, watch)
    with watch.step("seal"):
        manifest = seal_run(
            task.root, run, max_failed_share=config.run.max_failed_share, accept_audit=config.run.accept_audit
        )
        _describe(task)
    report = report_at_end(task.root, task.roots) if config.run.report else ""
    summary = _summary(task, manifest, watch, wall_s=time.monotonic() - began, num_encoders=placement.num_encoders)
    return replace(summary, account=account, report=report)


class _Work:
    """The units of a run that are not committed yet, and what it takes to commit them."""

    def __init__(self, task: Task, run: RunRecord, *, config: JobConfig, placement: Placement) -> None:
        self._task, self._run, self._placement = task, run, placement
        self._execution: ExecutionConfig = config.execution
        self._limits = decode_limits(config)
        self._max_failed_share, self._audit_images = config.run.max_failed_share, config.run.audit_images
        committed = catalog.committed_units(task.root, run.run)
        self._units = remaining_units(run, committed)
        self._left = num_images(run, self._units)
        # Another command may be at work on the same run: each begins somewhere else.
        self._first = random.choice(self._units) if len(self._units) else 0  # noqa: S311
        self._command = paths.token()

    def embed_remaining(self, cluster: Cluster, watch: Stopwatch) -> dict[str, float]:
        """Works through them; says where the encoders' time went, in seconds by cause.

        Raises:
            SinkError: they do not fit on the disk.
            RunIncompleteError, RunDrainedError, TooManyFailedError: it stopped early.
        """
        if not self._left:
            return {}
        run, where = self._run, f"encoders: {self._placement.num_encoders} on {self._placement.device}"
        room = Room.of(self._task.root)
        if room is not None:  # what of it is refused as bad is not known, and little as a rule
            room.require(self._left * sum(spec.size_bytes for spec in self._task.maps), 2 * len(self._units))
        counts = f"{self._left} of {run.num_images} images to embed, in {len(self._units)} units"
        announce(f"run {run.run}: {counts}; {where}")
        cluster.connect()
        cluster.watch_nodes(self._placement.need)
        gate = Gate(self._task.root.uri, run.run)
        with draining(partial(_drain, gate)):
            account = self._take_receipts(gate, watch)
        if self._left:
            raise RunIncompleteError(f"{self._left} images of run {run.run} are not committed; run the command again")
        return account

    def _take_receipts(self, gate: Gate, watch: Stopwatch) -> dict[str, float]:
        failures, accounts, total = Failures(), Accounts(time.time()), self._run.num_images
        with (
            RunProgress(total=total, done=total - self._left) as progress,
            RunMetrics(self._task.root.uri, self._run.run) as metrics,
        ):
            metrics.progress(num_planned=total, num_done=total - self._left)
            for receipt in self._receipts(gate, accounts):
                self._tell(receipt)
                watch.add(receipt.seconds)
                accounts.add(receipt.encoder, receipt.account)
                progress.advance(num_images=receipt.num_images, num_quarantined=receipt.num_quarantined)
                self._left -= receipt.num_images
                metrics.unit(receipt)
                metrics.progress(num_planned=total, num_done=total - self._left)
                metrics.encoders(accounts)
                failures.add(receipt.reasons, receipt.num_images, receipt.example)
                failures.check(total, self._max_failed_share)
            metrics.encoders(accounts, time.time())
        return accounts.seconds()

    def _tell(self, receipt: Receipt) -> None:
        if receipt.is_committed:
            tell(UnitEvent(feature_set=self._task.root.uri, run=self._run.run, command=self._command, **receipt.event))

    def _receipts(self, gate: Gate, accounts: Accounts) -> Iterator[Receipt]:
        """Part by part, each with encoders of its own: what Ray remembers of every unit ends with its part."""
        for part in parts_of(groups_of(self._units, self._first), self._execution.units_at_once):
            yield from self._receipts_of(part, gate)
            accounts.turn(time.time())

    def _receipts_of(self, groups: pa.Table, gate: Gate) -> Iterator[Receipt]:
        task, execution, root = self._task, self._execution, self._task.root
        record = catalog.feature_set_record(root)
        assert record is not None, "the run was claimed in it"
        encoder = EncoderSettings(
            tree=task.encoder.tree,
            weights=task.weights,
            device=self._placement.device,
            precision=record.settings["precision"],
            num_threads=self._placement.num_threads,
            images_per_batch=execution.images_per_batch or (8 if self._placement.device == "cuda" else 1),
            side_px=task.side_px,
            for_decoder=task.choice.for_decoder,
        )
        command = Command(self._command, time.time())
        sink = SinkSettings(root.uri, self._run.run, record, execution.patience_s, command)
        return embed_units(
            groups,
            read=ReadUnits(uri=root.uri, plan=self._run.plan, patience_s=execution.patience_s),
            fetch=FetchAndDecode(
                side_px=task.side_px,
                sink_uri=root.uri,
                run=self._run.run,
                limits=self._limits,
                patience_s=execution.patience_s,
                roots=task.roots,
                where=node_here,
            ),
            encode={
                "encoder": encoder,
                "sink": sink,
                "audits": AuditPlan(self._audit_images, self._run.num_units),
                "gate": gate,
                "where": node_here,
            },
            placement=self._placement,
        )


def _drain(gate: Gate) -> None:
    """Lets no unit begin any more, waits for those in hand, and says what became of them."""
    announce(f"stopping: units in hand have {_DRAIN_S:.0f} s to be committed; SIGTERM again gives them up")
    inside = gate.drain(_DRAIN_S)
    counted = f"{inside} of the units in hand given up" if inside else "all units in hand are committed"
    announce(f"draining: {'what became of units in hand is not known' if inside is None else counted}")


def _describe(task: Task) -> None:
    """Describes the set as it is now; what is sealed stays sealed if that fails."""
    try:
        describe(task.root)
    except PipelineError as error:
        announce(f"the run is sealed, but not described: {error}; jobs/describe.py does it again")


def _nothing_to_do(task: Task, wall_s: float) -> RunSummary:
    _describe(task)  # a kill may have come between a seal and its description
    num_quarantined = sum(manifest.num_quarantined for manifest in catalog.sealed_runs(task.root))
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
        num_removed=catalog.removed_images(task.root, [manifest]).num_rows,
        num_shards=manifest.shards.num_rows,
        size_bytes=manifest.size_bytes,
        wall_s=wall_s,
        num_encoders=num_encoders,
        num_ignored=task.source.num_ignored,
        seconds=watch.seconds,
        quarantined=dict(reasons.most_common()),
        audit=manifest.audit.text() if manifest.audit else "none",
    )

"""A repair: the images of broken shards are embedded again, by a run of their own that goes the ordinary way.

Shards and seals never change; for an image in several runs the last sealed one counts, so broken shards are outlived.
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipeline.config import RepairConfig
from pipeline.errors import FeatureSetError, RunIncompleteError
from pipeline.execution.plan import cut_units, images_per_unit
from pipeline.execution.run import embed_run
from pipeline.execution.task import Task
from pipeline.execution.units import remaining_units
from pipeline.featureset import catalog
from pipeline.featureset.records import RunRecord
from pipeline.maintenance.damage import Damage
from pipeline.maintenance.findings import Report
from pipeline.maintenance.names import parse_name
from pipeline.maintenance.verify import verify
from pipeline.observability.progress import announce
from pipeline.observability.summary import RunSummary
from pipeline.sinks.feature_sets import require_same_settings
from pipeline.sinks.runs import Listing, claim_run, next_run, open_run
from pipeline.sinks.seal import seal_run

Broken = Mapping[int, Collection[str]]


@dataclass(frozen=True)
class Repair:
    """What was found, and the runs that mended it; none if nothing was broken."""

    report: Report
    runs: tuple[RunSummary, ...] = ()

    def text(self) -> str:
        """The lines to print."""
        if not self.runs:
            return f"nothing to repair in {self.report.uri} (looked at level {self.report.level}); nothing was written"
        return "\n".join(run.text() for run in self.runs)


def repair(config: RepairConfig) -> Repair:
    """Finds what is broken and embeds exactly that again, in the version that was listed for the broken run.

    An image that has changed or gone since is quarantined by the repair, as it would be by any run that comes too
    late for it; of a changed one the next embed command takes the new version.

    Raises:
        ConfigError: the command is wrong; nothing was written.
        FeatureSetError: something is broken that embedding cannot mend; names every such file.
        RunConflictError: another run or other settings own the feature set.
        RunIncompleteError: an open run with broken shards is not complete yet, or the repair stopped early.
        PipelineError: as `embed`.
    """
    task = Task.of(config)
    report = verify(task.root, config.level)
    require_repairable(report)
    announce(report.text())
    broken, runs = report.broken_shards, list[RunSummary]()
    size = config.execution.images_per_unit or images_per_unit(task.maps, task.side_px)
    choose = partial(choose_run, task, broken=broken, size=size, accept_audit=config.run.accept_audit)
    is_left = any(finding.is_repairable for finding in report.findings)
    while is_left:  # twice, if there was an open run to finish first
        run = embed_run(task, config, choose=choose, began=time.monotonic())
        runs += [run] if run else []
        with Damage.of(task.root, catalog.sealed_runs(task.root), broken) as damage:
            is_left = run is not None and damage.num_images > 0
    return Repair(report, tuple(runs))


def require_repairable(report: Report) -> None:
    """Refuses to build on records and tables that are broken.

    Raises:
        FeatureSetError: names every file and what to do.
    """
    blocking = [f"  {finding}" for finding in report.findings if finding.blocks_repair]
    if blocking:
        raise FeatureSetError(f"{report.uri} has damage that embedding again cannot mend:", *blocking)


def choose_run(
    task: Task, settings: dict[str, Any], *, broken: Broken, size: int, accept_audit: bool = False
) -> RunRecord | None:
    """The run to work on: the open one, which may be a repair that was killed, or a new one of what is broken.

    Args:
        task: what the command names.
        settings: of the command.
        broken: by run, the names of broken shards; those that are superseded by now are passed over.
        size: images to a unit.
        accept_audit: seal an open run whatever its audit found.

    Returns:
        None when none of what is broken counts any more.

    Raises:
        RunConflictError: the feature set has other settings, or an open run of another source.
        RunIncompleteError: the open run has broken shards and is not complete.
        SinkError, AccessDeniedError: the sink cannot be written.
    """
    root, source = task.root, task.source.description
    record = catalog.feature_set_record(root)
    assert record is not None, "it was verified"
    require_same_settings(root, record, settings)
    root.require_writable()
    number = next_run(root)  # before anything is looked at: a run begun meanwhile is met, not doubled
    run = open_run(root, source)
    if run is not None and not broken.get(run.run):
        return run
    if run is not None:
        _seal_without(task, run, broken[run.run], accept_audit=accept_audit)
    sealed = catalog.sealed_runs(root)
    with Damage.of(root, sealed, broken) as damage:
        if not damage.num_images:
            return None
        last = catalog.run_record(root, sealed[-1].run)
        return claim_run(
            root,
            run=number,
            fingerprint=record.fingerprint,
            source=source,
            plan=cut_units(damage.refs(), size),
            images_per_unit=size,
            listing=Listing(last.listing, last.removed),  # the source was not listed since
        )


def _seal_without(task: Task, run: RunRecord, names: Collection[str], *, accept_audit: bool) -> None:
    """Seals an open run whose shards are broken; their images are given up in it, for the next run to embed."""
    left = remaining_units(run, catalog.committed_units(task.root, run.run))
    if len(left):
        raise RunIncompleteError(
            f"run {run.run} of {task.root.uri} has broken shards, {min(names)} among them, and is not complete "
            f"({len(left)} of its {run.num_units} units are left): finish it with its embed command, then repair again"
        )
    units = [parsed.unit for parsed in map(parse_name, names) if parsed is not None and parsed.unit is not None]
    # However many failed otherwise, what was damaged after it was committed is no reason to leave the run open.
    seal_run(task.root, run, damaged_units=frozenset(units), accept_audit=accept_audit)

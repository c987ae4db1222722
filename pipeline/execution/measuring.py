"""A few images are embedded as a run does it, into a feature set that is deleted again, to see how long one takes."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.config import JobConfig, RunConfig
from pipeline.errors import ConfigError, PipelineError, RunIncompleteError
from pipeline.execution.lanes import num_lanes
from pipeline.execution.resources import Placement
from pipeline.execution.run import embed_run
from pipeline.execution.task import Task
from pipeline.featureset import catalog, paths
from pipeline.featureset.records import CommitRecord, UnitWork
from pipeline.forecast.rates import Job, Rate
from pipeline.observability.progress import announce
from pipeline.storage.folder import Folder
from pipeline.storage.trouble import as_sink_error

# Units that the images are cut into at least: what is steady begins after the first.
_LEAST_UNITS = 4
# Written to see how fast the sink takes bytes.
_PROBE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Measured:
    """What was measured, with one encoder.

    Attributes:
        write_bytes_s: what one writer gets into the sink a second.
    """

    rate: Rate
    job: Job
    write_bytes_s: float


class DrawnSource:
    """Some images of another source."""

    num_ignored = 0

    def __init__(self, refs: pa.Table) -> None:
        self._refs, self.schema, self.description = refs, refs.schema, {"kind": "drawn", "uri": "some images"}

    def refs(self) -> Iterator[pa.RecordBatch]:
        """These."""
        yield from self._refs.to_batches()


def measure(task: Task, config: JobConfig, *, refs: pa.Table, placement: Placement, known: Job) -> Measured:
    """Embeds the images of the refs and looks how long it took.

    Args:
        task: of the command that is planned.
        config: of it; its precision is that of the feature set.
        refs: of the images to embed.
        placement: of its encoders; one like them is used.
        known: of a job elsewhere, for what cannot be measured.

    Raises:
        ConfigError: there is too little to measure with.
        PipelineError: as the embed command.
    """
    if refs.num_rows < _LEAST_UNITS:
        raise ConfigError(f"plan.measure_images= needs {_LEAST_UNITS} images, and {refs.num_rows} are to be embedded")
    size = min(refs.num_rows // _LEAST_UNITS, config.execution.images_per_unit or refs.num_rows)
    announce(f"measuring: {refs.num_rows} of the images, into a feature set that is deleted again")
    with temporary(task.root) as root:
        write_bytes_s = _write_bytes_s(root)
        own = replace(task, root=root, source=DrawnSource(refs), probers=())
        execution = replace(config.execution, num_encoders=1, images_per_unit=size)
        began, began_at = time.monotonic(), time.time()
        choose = partial(own.open_run, num_images=size)
        audits = RunConfig(audit_images=min(1, config.run.audit_images), accept_audit=True, report=False)
        summary = embed_run(own, replace(config, execution=execution, run=audits), choose=choose, began=began)
        commits = catalog.commit_records(root, 1)
    if summary is None:
        raise RunIncompleteError("nothing was measured; run the same command again")
    commits.sort(key=lambda commit: _work(commit).until)
    return measured(commits, began_at, summary.wall_s, write_bytes_s=write_bytes_s, placement=placement, known=known)


def measured(
    commits: list[CommitRecord],
    began_at: float,
    wall_s: float,
    *,
    write_bytes_s: float,
    placement: Placement,
    known: Job,
) -> Measured:
    """What the commits of one encoder say; what comes before the first and after the last is of every run once."""
    after, first, last = commits[1:], _work(commits[0]), _work(commits[-1])
    num_images = sum(commit.num_images for commit in after)
    steady_s = (last.until - first.until) / num_images
    waiting_s = _spent(first, last, "fetch", "decode") / num_images
    computing_s = _spent(first, last, "compute", "copy") / num_images
    audit_s = sum(_work(commit).seconds.get("audit", 0.0) for commit in commits) / num_lanes(
        placement.device, placement.num_threads
    )
    image_gb = sum(commit.shard.size_bytes for commit in after if commit.shard) / 1e9 / num_images
    beside_core_s = max(0.0, steady_s - computing_s) * placement.num_threads
    write_core_s_per_gb = known.write_core_s_per_gb
    if placement.device == "cpu" and image_gb:
        write_core_s_per_gb = min(write_core_s_per_gb, beside_core_s / image_gb)
    decode_s = sum(_work(commit).seconds.get(step, 0.0) for commit in after for step in ("decode", "resize"))
    before_s = first.until - began_at - commits[0].num_images * steady_s - audit_s
    job = Job(
        beside_core_s=beside_core_s - write_core_s_per_gb * image_gb,
        decode_core_s=decode_s / num_images,
        write_core_s_per_gb=write_core_s_per_gb,
        start_s=max(0.0, before_s) + max(0.0, wall_s - (last.until - began_at)),
        audit_s=audit_s or known.audit_s,
        end_s=known.end_s,
        peak_gb=None,
    )
    is_cpu = placement.device == "cpu"
    seconds, num_cores = (computing_s, placement.num_threads) if is_cpu else (steady_s - waiting_s, 0)
    return Measured(Rate(seconds, num_cores, f"measured just now over {num_images} images"), job, write_bytes_s)


def _work(commit: CommitRecord) -> UnitWork:
    assert commit.work is not None, "a unit that was embedded just now says how"
    return commit.work


def _spent(first: UnitWork, last: UnitWork, *causes: str) -> float:
    """Seconds of the encoder between two commits that went into these."""
    return sum(last.account[cause] - first.account[cause] for cause in causes)


@contextmanager
def temporary(root: Folder) -> Iterator[Folder]:
    """A place like that of the feature set, on the same disk or in the same bucket, which is empty again in the end."""
    if root.is_local:
        wanted = Path(root.uri).parent
        place = next(path for path in (wanted, *wanted.parents) if path.exists())
        with as_sink_error(str(place)), tempfile.TemporaryDirectory(prefix=".measured-", dir=place) as path:
            yield Folder(path)
        return
    folder = Folder(f"{root.uri}.measured-{paths.token()}", root.patience_s)
    try:
        yield folder
    finally:
        _empty(folder)


def _empty(folder: Folder) -> None:
    """Deletes what is in it; what was measured is worth having where that is not allowed."""
    try:
        for file in list(folder.files()):
            folder.delete(file.name)
    except PipelineError as error:
        announce(f"what was embedded to measure stays in {folder.uri}, delete it: {error}")


def _write_bytes_s(root: Folder) -> float:
    """What one writer gets into a place a second, until it is there for good."""
    data = np.random.default_rng(0).bytes(_PROBE_BYTES)
    began = time.perf_counter()
    with root.writer(f"shards/{paths.token()}.parquet") as stream:
        stream.write(data)
    return _PROBE_BYTES / (time.perf_counter() - began)

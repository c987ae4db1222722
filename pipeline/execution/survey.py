"""What a run would have to do: the source is listed and compared as a run does it, and nothing is written."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import JobConfig
from pipeline.execution.listed import Listed
from pipeline.execution.plan import cut_units, images_per_unit
from pipeline.execution.task import Task
from pipeline.execution.units import remaining_units
from pipeline.featureset import catalog
from pipeline.featureset.records import RunRecord
from pipeline.featureset.schema import plan_schema
from pipeline.forecast.volume import written_bytes
from pipeline.sinks.feature_sets import require_same_settings
from pipeline.sinks.runs import open_run
from pipeline.sources.image_ref import REFS

# Images whose ids and URIs stand for all of them.
_NUM_DRAWN = 64


@dataclass(frozen=True)
class Survey:
    """What there is to embed.

    Attributes:
        num_found: images of the source, or of the open run.
        num_images: of those, that are not embedded yet.
        in_bytes: of their files; what several of them share, one after the other, once.
        num_unsized: of them, of which nobody said how many bytes they have.
        plan_bytes: of the plan that would be written; none for an open run, which has one.
        run: the open run, if one is.
        listing_s: what finding out took.
        drawn: refs of some of them, at random, in their order.
    """

    num_found: int
    num_images: int
    in_bytes: int
    num_unsized: int
    plan_bytes: int
    images_per_unit: int
    run: int | None
    listing_s: float
    drawn: pa.Table

    @property
    def names(self) -> list[tuple[str, str]]:
        """Ids and URIs of those that were drawn."""
        return list(zip(self.drawn["image_id"].to_pylist(), self.drawn["uri"].to_pylist(), strict=True))

    @property
    def is_remote(self) -> bool:
        """Whether any of them is not on a disk."""
        return not all(Listed(image_id, uri, 0, "").is_local for image_id, uri in self.names)

    def some(self, count: int) -> pa.Table:
        """Refs of so many of them, drawn evenly."""
        count = min(count, self.drawn.num_rows)
        return self.drawn.take(pa.array(np.arange(count) * self.drawn.num_rows // count))


def survey(task: Task, settings: dict[str, Any], config: JobConfig, *, num_drawn: int = 0) -> Survey:
    """Looks what the embed command would do now.

    Args:
        task: what the command names.
        settings: of the task.
        config: of the command.
        num_drawn: how many refs to draw at least.

    Raises:
        RunConflictError: the feature set has other settings, or an open run of another source.
        SourceError: there are no images.
    """
    began, seen = time.monotonic(), _Seen(max(num_drawn, _NUM_DRAWN))
    standing = catalog.feature_set_record(task.root)
    run = None
    if standing is not None:
        require_same_settings(task.root, standing, settings)
        run = open_run(task.root, task.source.description)
    size = config.execution.images_per_unit or images_per_unit(task.maps, task.side_px)
    if run is not None:
        num_found, plan_bytes, size = run.num_images, 0, run.images_per_unit
        for refs in _left(task, run):
            seen.add(refs)
    else:
        num_found, plan_bytes = _compare(task, seen, size=size, retried=config.run.retry_quarantined)
    return Survey(
        num_found=num_found,
        num_images=seen.num_images,
        in_bytes=seen.in_bytes,
        num_unsized=seen.num_unsized,
        plan_bytes=plan_bytes,
        images_per_unit=size,
        run=None if run is None else run.run,
        listing_s=time.monotonic() - began,
        drawn=seen.drawn,
    )


def _compare(task: Task, seen: "_Seen", *, size: int, retried: str) -> tuple[int, int]:
    """How many images are listed, and bytes of the plan of what is to be embedded."""
    with task.comparison(retried) as compared:
        if not compared.num_listed and not catalog.sealed_runs(task.root):
            raise task.no_images()
        if compared.is_unchanged:
            return compared.num_listed, 0
        extra = [field for field in task.source.schema if field.name not in REFS.names]
        units = cut_units(seen.passing(compared.to_embed()), size)
        return compared.num_listed, written_bytes(plan_schema(extra), units)


def _left(task: Task, run: RunRecord) -> Iterator[pa.RecordBatch]:
    """Refs of the units of an open run that are not committed."""
    left = pa.array(remaining_units(run, catalog.committed_units(task.root, run.run)))
    with catalog.table_file(task.root, run.plan) as plan:
        for units in plan.iter_batches(batch_size=1024):
            kept = units.filter(pc.is_in(units["unit"].cast(pa.int64()), left))
            names = kept.schema.names[1:]
            yield pa.RecordBatch.from_arrays([kept[name].flatten() for name in names], names)


class _Seen:
    """Counts refs as they pass, and draws some."""

    def __init__(self, num_drawn: int) -> None:
        self.num_images = self.in_bytes = self.num_unsized = 0
        self.drawn = pa.table({"image_id": [], "uri": []})
        self._num_drawn, self._keys = num_drawn, np.empty(0)
        self._random = np.random.default_rng(0)
        self._last: tuple[Any, Any] = (None, None)

    def passing(self, refs: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same refs."""
        for batch in refs:
            self.add(batch)
            yield batch

    def add(self, batch: pa.RecordBatch) -> None:
        """Counts a batch."""
        if not batch.num_rows:
            return
        self.num_images += batch.num_rows
        self.num_unsized += int(pc.sum(pc.equal(batch["size_bytes"], 0)).as_py())
        self.in_bytes += self._file_bytes(batch)
        self._draw(pa.Table.from_batches([batch]))

    def _file_bytes(self, batch: pa.RecordBatch) -> int:
        """Bytes of the files: parts of one, such as tiles or frames, follow each other."""
        uris, sizes = batch["uri"], batch["size_bytes"].to_numpy()
        is_new = np.ones(batch.num_rows, bool)
        is_new[0] = (uris[0].as_py(), sizes[0]) != self._last
        is_new[1:] = pc.not_equal(uris[1:], uris[:-1]).to_numpy(zero_copy_only=False) | (sizes[1:] != sizes[:-1])
        self._last = (uris[-1].as_py(), sizes[-1])
        return int(sizes[is_new].sum())

    def _draw(self, batch: pa.Table) -> None:
        """Keeps those with the least random keys."""
        keys = np.concatenate([self._keys, self._random.random(batch.num_rows)])
        together = pa.concat_tables([self.drawn, batch]) if self.drawn.num_rows else batch
        kept = np.sort(np.argsort(keys)[: self._num_drawn])
        self._keys, self.drawn = keys[kept], together.take(pa.array(kept)).combine_chunks()

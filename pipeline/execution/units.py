"""The units of a plan that are left to do, read group by group where the work is done, not by the driver."""

import json
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.execution.plan import UNITS_PER_GROUP
from pipeline.featureset import catalog
from pipeline.featureset.records import RunRecord, TableFile
from pipeline.storage.folder import Folder


def remaining_units(run: RunRecord, committed: np.ndarray) -> np.ndarray:
    """The numbers of the units that are not committed, ascending, int64.

    Args:
        run: the run.
        committed: unit numbers, int64.
    """
    is_left = np.ones(run.num_units, bool)
    is_left[committed[committed < run.num_units]] = False
    return np.flatnonzero(is_left)


def num_images(run: RunRecord, units: np.ndarray) -> int:
    """How many images these units have."""
    has_last = len(units) > 0 and int(units[-1]) == run.num_units - 1
    short = run.images_per_unit - run.num_images_of(run.num_units - 1) if has_last else 0
    return len(units) * run.images_per_unit - short


def groups_of(units: np.ndarray, first: int = 0) -> pa.Table:
    """One row per row group of the plan with units left: its number, and those units.

    Args:
        units: their numbers, ascending.
        first: the unit to begin with; those before it come last. Commands that share a run begin apart.
    """
    turned = np.roll(units, -int(np.searchsorted(units, first)))
    groups = turned // UNITS_PER_GROUP
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    return pa.table(
        {
            "group": pa.array(groups[starts], pa.int64()),
            "units": pa.ListArray.from_arrays(pa.array([*starts, len(units)], pa.int32()), pa.array(turned)),
        }
    )


def parts_of(groups: pa.Table, most_units: int) -> Iterator[pa.Table]:
    """The groups in their order, in parts of at most so many units, and of one group at least."""
    ends = pc.cumulative_sum(pc.list_value_length(groups["units"])).to_numpy()
    first = 0
    while first < groups.num_rows:
        before = ends[first - 1] if first else 0
        after = max(first + 1, int(np.searchsorted(ends, before + most_units, side="right")))
        yield groups.slice(first, after - first)
        first = after


class ReadUnits:
    """Row groups of the plan to rows of it, one a unit; runs anywhere in the cluster.

    Args:
        uri: the feature set.
        plan: its file.
        patience_s: how long an object store may be in trouble, in seconds.
    """

    def __init__(self, *, uri: str, plan: TableFile, patience_s: float) -> None:
        self._uri, self._plan, self._patience_s = uri, plan.model_dump_json(), patience_s

    def __call__(self, block: pa.Table) -> pa.Table:
        """The units that the block's rows name."""
        plan = TableFile(**json.loads(self._plan))
        with catalog.table_file(Folder(self._uri, self._patience_s), plan) as table:
            groups = [_rows(table.read_row_group(row["group"]), row["units"]) for row in block.to_pylist()]
        return pa.concat_tables(groups)


def _rows(group: pa.Table, units: Iterable[int]) -> pa.Table:
    first = group["unit"][0].as_py()
    return group.take(pa.array([unit - first for unit in units]))

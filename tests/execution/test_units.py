"""Units: what is left of a plan, read by whoever does it, group by group."""

import pickle
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.errors import FeatureSetError, StoreUnavailableError
from pipeline.execution.plan import UNITS_PER_GROUP, cut_units
from pipeline.execution.units import ReadUnits, groups_of, num_images, parts_of, remaining_units
from pipeline.featureset import catalog
from pipeline.featureset.records import RunRecord
from pipeline.sinks.runs import claim_run
from pipeline.sources.image_ref import refs_batch
from pipeline.storage.folder import Folder
from tests.faults.faults import Answer, Reset
from tests.faults.proxied import ProxiedBucket
from tests.small_set import SOURCE, flip_byte


def claim(root: Folder, count: int, size: int) -> RunRecord:
    """A run of so many images, so many to a unit."""
    refs = refs_batch([(f"{number:06d}", f"/data/{number}", number, str(number)) for number in range(count)])
    plan = cut_units([refs], size)
    return claim_run(root, run=1, fingerprint="f", source=SOURCE, plan=plan, images_per_unit=size)


@pytest.mark.parametrize(
    ("committed", "left", "images"),
    [
        ([], [0, 1, 2, 3], 11),
        ([0], [1, 2, 3], 8),
        ([3], [0, 1, 2], 9),
        ([1, 2], [0, 3], 5),
        ([0, 1, 2], [3], 2),
        ([0, 1, 2, 3], [], 0),
        ([1, 7, 99], [0, 2, 3], 8),  # a commit of no unit is nobody's
    ],
)
def test_what_is_left_is_what_is_not_committed(tmp_path: Path, committed: list[int], left: list[int], images: int):
    run = claim(Folder(tmp_path), 11, 3)
    units = remaining_units(run, np.array(committed, np.int64))
    assert (units.dtype, units.tolist()) == (np.int64, left)
    assert num_images(run, units) == images


def test_a_plan_without_units_has_none_left(tmp_path: Path):
    run = claim(Folder(tmp_path), 0, 3)
    units = remaining_units(run, np.empty(0, np.int64))
    assert (units.tolist(), num_images(run, units), groups_of(units).num_rows) == ([], 0, 0)


def test_images_of_any_units_add_up(tmp_path: Path):
    chance = random.Random(13)
    for number in range(30):
        count, size = chance.randrange(1, 60), chance.randrange(1, 9)
        run = claim(Folder(tmp_path / str(number)), count, size)
        units = np.array(sorted(chance.sample(range(run.num_units), chance.randrange(run.num_units + 1))), np.int64)
        plan = catalog.read_table(Folder(tmp_path / str(number)), run.plan)
        expected = sum(len(plan["image_id"][unit]) for unit in units.tolist())
        assert num_images(run, units) == expected, (count, size, units)


@pytest.mark.parametrize(
    ("first", "order"),
    [
        (0, [0, 3, 1023, 1024, 2048, 2049, 5000]),
        (3, [3, 1023, 1024, 2048, 2049, 5000, 0]),
        (1500, [2048, 2049, 5000, 0, 3, 1023, 1024]),
        (2049, [2049, 5000, 0, 3, 1023, 1024, 2048]),
        (9999, [0, 3, 1023, 1024, 2048, 2049, 5000]),
    ],
)
def test_units_are_grouped_as_the_plan_is_and_begun_with_anywhere(first: int, order: list[int]):
    groups = groups_of(np.array([0, 3, 1023, 1024, 2048, 2049, 5000]), first).to_pylist()
    assert [unit for row in groups for unit in row["units"]] == order
    assert all({unit // UNITS_PER_GROUP for unit in row["units"]} == {row["group"]} for row in groups), groups
    assert len(groups) <= 5, "those of a group stay together, but for the group that is begun within"


def test_every_unit_that_is_left_is_read_once_and_as_planned(tmp_path: Path):
    root, size = Folder(tmp_path), 2
    run = claim(root, 2 * UNITS_PER_GROUP * size + 5, size)
    plan = {row["unit"]: row for row in catalog.read_table(root, run.plan).to_pylist()}
    chance = random.Random(17)
    units = np.array(sorted(chance.sample(range(run.num_units), 700)), np.int64)
    read = pickle.loads(pickle.dumps(ReadUnits(uri=root.uri, plan=run.plan, patience_s=1.0)))  # noqa: S301
    groups = groups_of(units, first=int(units[400]))
    found = [row for number in range(groups.num_rows) for row in read(groups.slice(number, 1)).to_pylist()]
    assert sorted(row["unit"] for row in found) == units.tolist()
    assert all(row == plan[row["unit"]] for row in found)
    assert read(groups).num_rows == len(units), "several groups at once"


def test_a_damaged_plan_is_told_by_name(tmp_path: Path):
    root = Folder(tmp_path)
    run = claim(root, 10, 2)
    path = tmp_path / run.plan.name
    flip_byte(path, *range(10, path.stat().st_size // 2))
    with pytest.raises(FeatureSetError, match=f"{path} is damaged"):
        ReadUnits(uri=root.uri, plan=run.plan, patience_s=1.0)(groups_of(np.arange(5)))
    path.unlink()
    with pytest.raises(FeatureSetError, match=f"{path} is missing"):
        ReadUnits(uri=root.uri, plan=run.plan, patience_s=1.0)(groups_of(np.arange(5)))


def test_a_plan_in_a_bucket_is_read_in_spite_of_trouble_and_never_called_damaged(store: ProxiedBucket):
    root = Folder(f"s3://{store.bucket}/set")
    run = claim(root, 10, 2)
    store.proxy.install(Answer(503, operation="GetObject|HeadObject", first=4))
    patient = ReadUnits(uri=root.uri, plan=run.plan, patience_s=30.0)
    assert patient(groups_of(np.arange(5)))["unit"].to_pylist() == [0, 1, 2, 3, 4]
    store.proxy.install(Reset(operation="GetObject"))
    with pytest.raises(StoreUnavailableError):
        ReadUnits(uri=root.uri, plan=run.plan, patience_s=0.1)(groups_of(np.arange(5)))


@pytest.mark.parametrize("most_units", [1, 3 * UNITS_PER_GROUP, 10**9])
def test_parts_are_the_groups_in_their_order_as_many_as_fit(most_units: int):
    units = np.arange(7 * UNITS_PER_GROUP + 5)
    groups = groups_of(units, first=UNITS_PER_GROUP + 1)
    parts = list(parts_of(groups, most_units))
    assert pa.concat_tables(parts).equals(groups)
    for part in parts:
        num_units = len(part["units"].combine_chunks().flatten())
        assert num_units <= most_units or part.num_rows == 1
    assert len(parts) == {1: groups.num_rows, 10**9: 1}.get(most_units, 3)


def test_nothing_has_no_parts():
    assert list(parts_of(groups_of(np.empty(0, np.int64)), 5)) == []

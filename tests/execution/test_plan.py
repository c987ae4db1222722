"""Plan: images cut into units in their order, a bounded number at a time."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
import pytest

from pipeline.execution.plan import UNITS_PER_GROUP, cut_units, images_per_unit
from pipeline.featureset.maps import MapSpec
from pipeline.featureset.schema import PLAN
from pipeline.sources.image_ref import refs_batch

FPN_1024 = tuple(
    MapSpec(f"fpn_{level}", level, (256, side, side), "float16", 1024 // side)
    for level, side in enumerate((256, 128, 64))
)


def batch(ids: Iterable[str]) -> pa.RecordBatch:
    return refs_batch([(image_id, f"/data/photos/{image_id}", len(image_id), f"v-{image_id}") for image_id in ids])


def planned(plan: Iterable[pa.Table]) -> list[dict[str, Any]]:
    """All units, one by one."""
    return [row for units in plan for row in units.to_pylist()]


@pytest.mark.parametrize("cuts", [[7], [3, 4], [1] * 7, [0, 7, 0], [2, 0, 0, 5]])
@pytest.mark.parametrize(
    ("count", "size", "lengths"), [(0, 3, []), (1, 3, [1]), (3, 3, [3]), (7, 3, [3, 3, 1]), (4, 1, [1, 1, 1, 1])]
)
def test_units_are_full_but_for_the_last_however_the_refs_arrive(
    count: int, size: int, lengths: list[int], cuts: list[int]
):
    ids = iter([str(number) for number in range(count)])
    batches = [batch(islice(ids, length)) for length in cuts]
    plan = list(cut_units(batches, size))
    rows = planned(plan)
    assert all(units.schema.equals(PLAN) for units in plan)
    assert [row["unit"] for row in rows] == list(range(len(lengths)))
    assert [len(row["image_id"]) for row in rows] == lengths


def test_units_keep_order_and_everything_a_ref_says():
    refs = batch(["z", "a", "é😀", "m/1"])
    rows = planned(cut_units(iter([refs]), 3))
    columns = {name: [value for row in rows for value in row[name]] for name in refs.schema.names}
    assert columns == refs.to_pydict()


def test_a_table_of_the_plan_holds_a_thousand_units_and_the_next_goes_on():
    size, count = 2, 2 * UNITS_PER_GROUP * 2 + 3
    ids = iter([f"{number:06d}" for number in range(count)])
    batches = (batch(islice(ids, 999)) for _ in range(count // 999 + 1))
    tables = list(cut_units(batches, size))
    assert [units.num_rows for units in tables] == [UNITS_PER_GROUP, UNITS_PER_GROUP, 2]
    rows = planned(tables)
    assert [row["unit"] for row in rows] == list(range(2 * UNITS_PER_GROUP + 2))
    assert [image_id for row in rows for image_id in row["image_id"]] == [f"{number:06d}" for number in range(count)]
    assert len(rows[-1]["image_id"]) == 1


def test_a_plan_is_cut_while_refs_arrive():
    taken = []

    def arriving() -> Iterator[pa.RecordBatch]:
        for number in range(4):
            taken.append(number)
            yield batch(f"{number}/{each}" for each in range(UNITS_PER_GROUP))

    plan = cut_units(arriving(), 1)
    assert next(plan).num_rows == UNITS_PER_GROUP
    assert taken == [0]
    assert sum(units.num_rows for units in plan) == 3 * UNITS_PER_GROUP


@pytest.mark.parametrize(
    ("maps", "side_px", "expected"),
    [
        (FPN_1024, 1024, 9),  # 42 MiB of features an image: the shard decides
        (FPN_1024[2:], 1024, 10),  # 2 MiB of features, 12 MiB of pixels: they decide
        ((), 1024, 10),
        ((), 64, 64),  # never more than 64
        (FPN_1024[2:], 256, 64),
        ((MapSpec("fpn_0", 0, (256, 2048, 2048), "float32", 4),), 8192, 1),  # never less than one
    ],
)
def test_a_unit_holds_as_many_images_as_shard_and_pixels_allow(maps: tuple[MapSpec, ...], side_px: int, expected: int):
    found = images_per_unit(maps, side_px)
    assert found == expected
    if found > 1:
        assert found * sum(spec.size_bytes for spec in maps) <= 384 * 2**20
        assert found * 3 * side_px**2 * 4 <= 128 * 2**20

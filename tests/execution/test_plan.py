"""Plan: new and changed images only, each once, cut into units in their order."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.execution.plan import cut_units, images_per_unit, not_yet_embedded
from pipeline.featureset.schema import PLAN, MapSpec
from pipeline.sources.image_ref import ImageRef
from pipeline.storage import Folder
from tests.small_set import SmallSet

FPN_1024 = tuple(
    MapSpec(f"fpn_{level}", level, (256, side, side), "float16", 1024 // side)
    for level, side in enumerate((256, 128, 64))
)


def refs(ids: Iterable[str], version: str = "1") -> list[ImageRef]:
    return [ImageRef(image_id, f"/data/photos/{image_id}", len(image_id), version) for image_id in ids]


def remaining(root: Folder, found: list[ImageRef]) -> list[str]:
    return [ref.image_id for ref in not_yet_embedded(root, found)]


def test_everything_is_new_to_an_empty_set(tmp_path: Path):
    assert remaining(Folder(tmp_path), refs("cab")) == ["c", "a", "b"]


def test_only_new_and_changed_images_remain(tmp_path: Path):
    small = SmallSet(tmp_path)
    small.embed([["a", "b"], ["c"]])
    assert remaining(small.root, refs("abc")) == []
    assert remaining(small.root, refs("abcd")) == ["d"]
    assert remaining(small.root, refs("a") + refs("b", "2") + refs("c")) == ["b"]


def test_a_quarantined_image_is_not_tried_again_until_it_changes(tmp_path: Path):
    small = SmallSet(tmp_path)
    small.embed([["a", "b"]], bad=["b"])
    assert remaining(small.root, refs("ab")) == []
    assert remaining(small.root, refs("ab", "2")) == ["a", "b"]


def test_an_image_counts_in_the_version_of_its_last_run(tmp_path: Path):
    small = SmallSet(tmp_path)
    small.embed([["a", "b"]], version="1")
    small.embed([["b"]], version="2")
    assert remaining(small.root, refs("a") + refs("b", "2")) == []
    assert remaining(small.root, refs("ab")) == ["b"]  # changed back


def test_an_open_run_holds_nothing_yet(tmp_path: Path):
    small = SmallSet(tmp_path)
    run = small.begin([["a"]])
    small.commit(run, 0, ["a"])
    assert remaining(small.root, refs("a")) == ["a"]


def test_images_that_left_the_source_change_nothing(tmp_path: Path):
    small = SmallSet(tmp_path)
    small.embed([["a", "b"]])
    assert remaining(small.root, refs("b")) == []


def test_two_images_of_one_id_are_refused_naming_it(tmp_path: Path):
    with pytest.raises(ConfigError, match="two images have the id 'a'; ids must be unique"):
        remaining(Folder(tmp_path), refs("aba"))


def test_two_images_of_one_id_are_refused_also_when_they_are_embedded(tmp_path: Path):
    small = SmallSet(tmp_path)
    small.embed([["a"]])
    with pytest.raises(ConfigError, match="'a'"):
        remaining(small.root, refs("aa"))


@pytest.mark.parametrize(
    ("count", "size", "lengths"), [(0, 3, []), (1, 3, [1]), (3, 3, [3]), (7, 3, [3, 3, 1]), (4, 1, [1, 1, 1, 1])]
)
def test_units_are_full_but_for_the_last(count: int, size: int, lengths: list[int]):
    plan = cut_units(refs(str(number) for number in range(count)), size)
    assert plan.schema.equals(PLAN)
    assert plan["unit"].to_pylist() == list(range(len(lengths)))
    assert [len(ids) for ids in plan["image_id"].to_pylist()] == lengths


def test_units_keep_order_and_everything_a_ref_says():
    found = refs(["z", "a", "é😀", "m/1"])
    rows = cut_units(iter(found), 3).to_pylist()
    planned = [
        ImageRef(*each)
        for row in rows
        for each in zip(row["image_id"], row["uri"], row["size_bytes"], row["version"], strict=True)
    ]
    assert planned == found


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

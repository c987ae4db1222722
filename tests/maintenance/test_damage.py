"""Damage: exactly the images whose last sealed run is the one with the broken shard, as they were listed then."""

import pyarrow as pa

from pipeline.featureset import catalog
from pipeline.maintenance.damage import Damage
from pipeline.sinks.seal import seal_run
from tests.damaging import shard_of
from tests.small_set import SmallSet

UNITS = [["a", "b"], ["c", "d"], ["e"]]


def damage_of(small: SmallSet, *units: tuple[int, int]) -> tuple[list[str], set[tuple[int, str]]]:
    """The ids to embed again and the shards that count, when the shards of these (run, unit) are broken."""
    broken: dict[int, set[str]] = {}
    for run, unit in units:
        broken[run] = {*broken.get(run, ()), shard_of(small, run, unit).name}
    with Damage.of(small.root, catalog.sealed_runs(small.root), broken) as damage:
        refs = pa.Table.from_batches(damage.refs(), None) if damage.num_images else None
        ids = refs["image_id"].to_pylist() if refs is not None else []
        assert len(ids) == damage.num_images
        return ids, damage.shards()


def test_nothing_broken_is_no_damage(small: SmallSet):
    small.embed(UNITS)
    assert damage_of(small) == ([], set())


def test_the_images_of_broken_shards_in_the_order_of_their_ids(small: SmallSet):
    small.embed([["x", "b"], ["c", "d"], ["a"]], bad=["b"])
    assert damage_of(small, (1, 2), (1, 0)) == (
        ["a", "x"],
        {(1, shard_of(small, 1, 0).name), (1, shard_of(small, 1, 2).name)},
    )


def test_what_a_later_run_planned_is_superseded_be_it_features_or_quarantine(small: SmallSet):
    small.embed(UNITS)
    small.embed([["a", "c"], ["d"]], bad=["d"], version="2")
    assert damage_of(small, (1, 0), (1, 1), (1, 2)) == (
        ["b", "e"],
        {(1, shard_of(small, 1, 0).name), (1, shard_of(small, 1, 2).name)},
    )


def test_a_later_run_that_is_open_or_was_given_up_supersedes_nothing(small: SmallSet):
    small.embed(UNITS)
    run = small.begin([["a", "b"]], "2")
    small.commit(run, 0, ["a", "b"], version="2")
    assert damage_of(small, (1, 0))[0] == ["a", "b"]


def test_of_an_image_that_is_broken_in_two_runs_the_last_one_counts(small: SmallSet):
    small.embed(UNITS)
    small.embed([["b", "c"]], version="2")
    ids, shards = damage_of(small, (1, 0), (2, 0))
    assert ids == ["a", "b", "c"]
    assert shards == {(1, shard_of(small, 1, 0).name), (2, shard_of(small, 2, 0).name)}
    with Damage.of(small.root, catalog.sealed_runs(small.root), {2: {shard_of(small, 2, 0).name}}) as damage:
        (batch,) = damage.refs()
        assert batch.to_pylist() == [
            {"image_id": image_id, "uri": f"/data/photos/{image_id}", "size_bytes": 1, "version": "2"}
            for image_id in ("b", "c")
        ]


def test_images_that_were_given_up_when_their_run_was_sealed_are_damage_until_they_are_embedded(small: SmallSet):
    run = small.begin(UNITS)
    for unit, ids in enumerate(UNITS):
        small.commit(run, unit, ids)
    seal_run(small.root, run, damaged_units=frozenset({1}))
    assert damage_of(small) == (["c", "d"], set())
    with Damage.of(small.root, catalog.sealed_runs(small.root), {}) as damage:
        assert damage.given_up() == {1: 2}
    small.embed([["c", "d"]])
    assert damage_of(small) == ([], set())


def test_what_the_source_said_besides_comes_along(small: SmallSet):
    small.embed([["a", "b"]], carried={"part": {"a": "row=3", "b": None}})
    small.embed([["c"]])
    with Damage.of(small.root, catalog.sealed_runs(small.root), {1: {shard_of(small, 1, 0).name}}) as damage:
        assert [(row["image_id"], row["part"]) for batch in damage.refs() for row in batch.to_pylist()] == [
            ("a", "row=3"),
            ("b", None),
        ]

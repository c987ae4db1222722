"""Comparison: what is new, changed, gone, or to be tried again, by the last state of every image."""

import random
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.errors import ConfigError, FeatureSetError, InputListError
from pipeline.execution.comparison import Comparison
from pipeline.featureset.schema import PART, REMOVED
from pipeline.sinks.runs import Listing, abandon_run, claim_run
from pipeline.sinks.seal import seal_run
from pipeline.sources.image_ref import REFS, refs_batch
from pipeline.storage.folder import Folder
from tests.faults.faults import Answer
from tests.faults.proxied import ProxiedBucket
from tests.small_set import SOURCE, SmallSet, flip_byte


def refs(ids: Iterable[str], version: str = "1") -> list[pa.RecordBatch]:
    """A listing of these images, in batches of two."""
    rows = [(image_id, f"/data/photos/{image_id}", len(image_id), version) for image_id in ids]
    return [refs_batch(rows[start : start + 2]) for start in range(0, len(rows), 2)]


def to_embed(root: Folder, listed: Iterable[pa.RecordBatch], retry_quarantined: str = "none") -> list[str]:
    with Comparison.of(root, listed, retry_quarantined=retry_quarantined) as compared:
        return [image_id for batch in compared.to_embed() for image_id in batch["image_id"].to_pylist()]


def removed(root: Folder, listed: Iterable[pa.RecordBatch]) -> list[str]:
    with Comparison.of(root, listed) as compared:
        return compared.removed()["image_id"].to_pylist()


# What is to be embedded


def test_everything_is_new_to_an_empty_set_and_comes_in_the_order_it_was_listed_in(tmp_path: Path):
    ids = ["c", "a", "é", "b", "B", "a/1", "a.jpg"]
    assert to_embed(Folder(tmp_path), refs(ids)) == ids
    many = [f"{number * 7919 % 100_003:06d}" for number in range(100_000)]
    assert to_embed(Folder(tmp_path), refs(many)) == many


def test_further_columns_of_refs_come_back_with_them(tmp_path: Path):
    schema = pa.schema([*REFS, PART, pa.field("label", pa.int16())])
    batch = refs_batch([("b", "/x", 1, ""), ("a", "/x", 1, "")])
    batch = batch.append_column(PART, pa.array(["row=1", None])).append_column("label", pa.array([7, None], pa.int16()))
    with Comparison.of(Folder(tmp_path), [batch.cast(schema)], schema) as compared:
        (found,) = compared.to_embed()
    assert found.schema.equals(schema)
    assert found.to_pylist() == batch.to_pylist()


def test_a_ref_comes_back_as_it_was_listed(tmp_path: Path):
    rows = [("a", "/x/a", 2**40, "v"), ("b\n😀", "s3://b/é", 0, "")]
    with Comparison.of(Folder(tmp_path), [refs_batch(rows)]) as compared:
        batches = list(compared.to_embed())
    assert all(batch.schema.equals(REFS) for batch in batches)
    assert [tuple(row.values()) for batch in batches for row in batch.to_pylist()] == rows


def test_only_new_and_changed_images_remain(tmp_path: Path):
    small = SmallSet(tmp_path)
    small.embed([["a", "b"], ["c"]])
    assert to_embed(small.root, refs("abc")) == []
    assert to_embed(small.root, refs("abcd")) == ["d"]
    assert to_embed(small.root, refs("a") + refs("b", "2") + refs("c")) == ["b"]


def test_a_quarantined_image_is_not_tried_again_until_it_changes(tmp_path: Path):
    small = SmallSet(tmp_path)
    small.embed([["a", "b"]], bad=["b"])
    assert to_embed(small.root, refs("ab")) == []
    assert to_embed(small.root, refs("ab", "2")) == ["a", "b"]


def test_an_image_counts_in_the_version_of_its_last_run(tmp_path: Path):
    small = SmallSet(tmp_path)
    small.embed([["a", "b"]], version="1")
    small.embed([["b"]], version="2")
    assert to_embed(small.root, refs("a") + refs("b", "2")) == []
    assert to_embed(small.root, refs("ab")) == ["b"], "changed back"


def test_a_run_that_is_open_or_was_given_up_holds_nothing(tmp_path: Path):
    small = SmallSet(tmp_path)
    run = small.begin([["a"]])
    small.commit(run, 0, ["a"])
    assert to_embed(small.root, refs("a")) == ["a"]
    abandon_run(small.root, run.run)
    assert to_embed(small.root, refs("a")) == ["a"]
    assert removed(small.root, refs("b")) == []


def test_two_images_of_one_id_are_refused_naming_it(tmp_path: Path):
    with pytest.raises(
        InputListError, match=r"two images have the id 'a' .*ids must be unique.*numbers 2 and 4"
    ) as caught:
        to_embed(Folder(tmp_path), refs("xaba"))
    assert isinstance(caught.value, ConfigError)
    assert caught.value.exit_code == 65


def test_two_images_of_one_id_are_refused_also_when_they_are_embedded(tmp_path: Path):
    small = SmallSet(tmp_path)
    small.embed([["a"]])
    with pytest.raises(ConfigError, match="'a'"):
        to_embed(small.root, refs("aa"))


def test_a_column_of_another_kind_than_in_a_sealed_run_is_refused_before_anything_is_listed(tmp_path: Path):
    small = SmallSet(tmp_path)
    small.embed([["a"]], carried={"label": {"a": 5}})
    schema = pa.schema([*REFS, pa.field("label", pa.string())])
    with (
        pytest.raises(InputListError, match=r"'label' of the source is string, and int64 in run 1.*source\.columns"),
        Comparison.of(small.root, iter(()), schema),
    ):
        pass
    same = pa.schema([*REFS, pa.field("label", pa.int64()), pa.field("caption", pa.string())])
    with Comparison.of(small.root, [], same) as compared:
        assert list(compared.to_embed()) == []


# What is tried again


@pytest.fixture
def failed(tmp_path: Path) -> SmallSet:
    """Of a to f: b is broken, c was damaged before it was sealed, d was broken once, e broke later."""
    small = SmallSet(tmp_path)
    run = small.begin([["a", "b", "d", "e"], ["c"]])
    for unit, ids in enumerate([["a", "b", "d", "e"], ["c"]]):
        small.commit(run, unit, ids, bad=["b", "d"])
    seal_run(small.root, run, damaged_units=frozenset({1}))
    small.embed([["d", "e"]], bad=["e"], version="2")
    return small


@pytest.mark.parametrize(
    ("retried", "expected"), [("none", ["f"]), ("transient", ["c", "f"]), ("all", ["b", "c", "f", "e"])]
)
def test_quarantined_images_are_tried_again_as_asked(failed: SmallSet, retried: str, expected: list[str]):
    listed = refs("abcf") + refs("de", "2")
    assert to_embed(failed.root, listed, retried) == expected
    failed.embed([["b", "c", "e"]], version="1")
    assert to_embed(failed.root, refs("abcef") + refs("d", "2"), retried) == ["f"], "what is embedded now is not"


def test_an_image_that_is_gone_is_not_tried_again(failed: SmallSet):
    assert to_embed(failed.root, refs("a"), "all") == []


# What is gone


def test_images_that_left_the_source_are_told_in_order(tmp_path: Path):
    small = SmallSet(tmp_path)
    assert removed(small.root, refs("b")) == []
    small.embed([["d", "a", "b"], ["c"]], bad=["c"])
    assert removed(small.root, refs("b")) == ["a", "c", "d"]
    small.embed([["e"]], version="2", removed=["a", "c", "d"])
    assert removed(small.root, refs("e")) == ["a", "b", "c", "d"], "those that were told before too"
    assert removed(small.root, refs("abcde")) == []
    with Comparison.of(small.root, []) as compared:
        assert compared.removed().schema.equals(REMOVED)


# Whether anything has changed at all


def digest(root: Folder, listed: Iterable[pa.RecordBatch]) -> str:
    with Comparison.of(root, listed) as compared:
        return compared.digest


def test_a_digest_is_that_of_ids_and_versions_in_any_order(tmp_path: Path):
    root = Folder(tmp_path)
    same = [refs("abc"), refs("cba"), [*refs("c"), *refs("ab")], [refs_batch([]), *refs("abc")]]
    others = [
        [],
        refs("ab"),
        refs("abcd"),
        refs("abd"),
        refs("abc", "2"),
        refs("ab") + refs("c", "2"),
        refs("aabc"),
        [refs_batch([("a", "", 1, "b"), ("b", "", 1, "a")])],
        [refs_batch([("a", "", 1, "a"), ("b", "", 1, "b")])],
        [refs_batch([("ab", "", 1, ""), ("", "", 1, "ab")])],
    ]
    assert len({digest(root, listed) for listed in same}) == 1
    assert len({digest(root, listed) for listed in [same[0], *others]}) == 1 + len(others)


def seal_listing(small: SmallSet, listed: Iterable[pa.RecordBatch]) -> None:
    """A run without images of its own that was planned for this listing."""
    run = claim_run(
        small.root,
        run=len(list(small.root.names("runs"))) + 1,
        fingerprint=small.record.fingerprint,
        source=SOURCE,
        plan=[],
        images_per_unit=1,
        listing=Listing(digest(small.root, listed)),
    )
    seal_run(small.root, run)


def unchanged(small: SmallSet, listed: Iterable[pa.RecordBatch], retried: str = "none") -> bool:
    with Comparison.of(small.root, listed, retry_quarantined=retried) as compared:
        return compared.is_unchanged


def test_nothing_has_changed_if_the_last_sealed_run_was_planned_for_the_same_listing(tmp_path: Path):
    small = SmallSet(tmp_path)
    assert not unchanged(small, refs("ab"))
    small.embed([["a", "b"]])
    assert not unchanged(small, refs("ab")), "a run that knows of no listing"
    seal_listing(small, refs("ab"))
    assert unchanged(small, refs("ba"))
    assert not unchanged(small, refs("abc"))
    assert not unchanged(small, refs("ab"), "transient"), "there may be something to try again"
    seal_listing(small, refs("abc"))
    assert not unchanged(small, refs("ab"))


def test_a_run_that_was_given_up_does_not_tell_what_there_is(tmp_path: Path):
    small = SmallSet(tmp_path)
    seal_listing(small, refs("ab"))
    claim_run(
        small.root,
        run=2,
        fingerprint=small.record.fingerprint,
        source=SOURCE,
        plan=[],
        images_per_unit=1,
        listing=Listing(digest(small.root, refs("abc"))),
    )
    assert (unchanged(small, refs("ab")), unchanged(small, refs("abc"))) == (True, False)
    abandon_run(small.root, 2)
    assert (unchanged(small, refs("ab")), unchanged(small, refs("abc"))) == (True, False)


# Many, and what goes wrong


def many(count: int, size: int = 20_000) -> Iterator[pa.RecordBatch]:
    """Refs with ids out of order."""
    for start in range(0, count, size):
        numbers = [number * 7919 % count for number in range(start, min(start + size, count))]
        ids = [f"{number:07d}" for number in numbers]
        yield pa.record_batch([ids, ids, numbers, ids], schema=REFS)


def test_hundreds_of_thousands_of_refs_stream_out_whole_whatever_else_is_asked_meanwhile(tmp_path: Path):
    count = 330_000
    small = SmallSet(tmp_path)
    small.embed([["0000000", "gone"]])
    with Comparison.of(small.root, many(count)) as compared:
        batches = compared.to_embed()
        first = next(batches)
        assert first.num_rows < count
        assert compared.removed().to_pydict() == {"image_id": ["gone"]}
        assert compared.digest.startswith(f"{count}-")
        assert compared.is_unchanged is False
        found = pa.Table.from_batches([first, *batches])
    assert found["image_id"].to_pylist() == [
        image_id for batch in many(count) for image_id in batch["image_id"].to_pylist()
    ]


def test_an_error_of_the_source_arrives_as_it_is_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def failing() -> Iterator[pa.RecordBatch]:
        yield from refs("abc")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        to_embed(Folder(tmp_path / "set"), failing())
    with pytest.raises(ConfigError):
        to_embed(Folder(tmp_path / "set"), refs("aa"))
    assert to_embed(Folder(tmp_path / "set"), refs("a")) == ["a"]
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_plan_of_a_sealed_run_is_refused_by_name(tmp_path: Path):
    small = SmallSet(tmp_path)
    run = small.begin([["a"]])
    small.commit(run, 0, ["a"])
    seal_run(small.root, run)
    flip_byte(tmp_path / run.plan.name, *range(4, 200))
    with pytest.raises(FeatureSetError, match=f"{run.plan.name} is damaged"):
        to_embed(small.root, refs("a"))


def test_a_set_in_a_bucket_is_compared_in_spite_of_trouble(store: ProxiedBucket):
    small = SmallSet(f"s3://{store.bucket}/set")
    small.embed([["a", "b"]], bad=["b"])
    store.proxy.install(Answer(503, probability=0.3, seed=5))
    assert to_embed(small.root, refs("abc"), "all") == ["b", "c"]


@pytest.mark.parametrize("seed", range(4))
def test_any_history_is_compared_as_a_dictionary_would(seed: int, tmp_path: Path):
    """Images come, change, break, are mended, go and come back; runs are sealed or given up."""
    chance = random.Random(seed)
    small = SmallSet(tmp_path, maps=())
    known: dict[str, tuple[str, bool]] = {}
    for step in range(8):
        listing = {str(number): chance.choice("12") for number in range(30) if chance.random() < 0.7}
        batches = [batch for image_id, version in listing.items() for batch in refs([image_id], version)]
        retried = chance.choice(["none", "all"])
        expected = [
            image_id
            for image_id, version in listing.items()
            if image_id not in known or known[image_id][0] != version or (retried == "all" and known[image_id][1])
        ]
        assert to_embed(small.root, batches, retried) == expected, (seed, step)
        assert removed(small.root, batches) == sorted(known.keys() - listing.keys()), (seed, step)
        version = chance.choice("12")
        units = [ids for ids in (expected[:7], expected[7:]) if ids]
        bad = [image_id for image_id in expected if chance.random() < 0.3]
        run = small.begin(units, version)
        for unit, ids in enumerate(units):
            small.commit(run, unit, ids, bad=bad, version=version)
        if chance.random() < 0.25:
            abandon_run(small.root, run.run)
            continue
        seal_run(small.root, run)
        known.update({image_id: (version, image_id in bad) for image_id in expected})

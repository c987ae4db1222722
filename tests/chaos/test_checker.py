"""The oracle tells right feature sets from wrong ones: each of these is wrong in one way, and it says in which."""

import shutil
from pathlib import Path

import pytest

from pipeline.featureset import paths
from pipeline.featureset.records import QuarantineRow
from pipeline.storage.folder import Folder
from tests.chaos import forging
from tests.chaos.checker import check, read, verdict_on
from tests.chaos.forging import Forger
from tests.chaos.images import fill, is_poison, name_of
from tests.chaos.writer import write

NUM_IMAGES, SIZE = 12, 4
COUNTS = ("lost", "duplicated", "wrong")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with images and a good feature set of them."""
    folder = tmp_path_factory.mktemp("oracle")
    fill(folder / "images", NUM_IMAGES)
    write(str(folder / "images"), str(folder / "sink"), images_per_unit=SIZE)
    return folder


@pytest.fixture
def place(made, tmp_path):
    """A copy of the feature set that a test may spoil, for the oracle."""
    shutil.copytree(made / "sink", tmp_path / "sink")
    return {"sink": str(tmp_path / "sink"), "source": str(made / "images"), "images": str(made / "images")}


@pytest.fixture
def forger(place):
    return Forger(Path(place["sink"]))


def counts(place, **more):
    verdict = verdict_on(**place, **more)
    assert bool(verdict.problems) == any(getattr(verdict, name) for name in COUNTS), verdict
    return {name: getattr(verdict, name) for name in COUNTS if getattr(verdict, name)}


def test_a_good_set_is_good(place):
    verdict = verdict_on(**place)
    assert verdict.is_good, verdict
    assert (verdict.planned, verdict.orphans) == (NUM_IMAGES, 0)
    assert [each["picture"] for each in check([place, place])] == [verdict.picture] * 2


def test_a_missing_id(place, forger):
    forger.table("index", forging.without_first)
    assert counts(place) == {"lost": 1}


def test_an_image_that_was_never_planned(place, tmp_path):
    images = shutil.copytree(place["images"], tmp_path / "images")
    (images / "new.jpg").touch()
    assert counts({**place, "images": str(images)}) == {"lost": 1}


def test_an_image_that_should_not_have_been_seen(place):
    assert counts(place, absent=[name_of(3)])["wrong"] > 0


def test_a_duplicate(place, forger):
    forger.table("index", forging.with_last_twice)
    assert counts(place) == {"duplicated": 1, "wrong": 1}  # and readers, who show it once, disagree with the manifest


def test_an_id_that_is_embedded_and_quarantined(place, forger):
    row = QuarantineRow(
        image_id=name_of(0), uri="", stage="decode", error_class="permanent", error_type="Poison", message=""
    )
    forger.table("quarantine", forging.with_row(**row.model_dump()))
    assert counts(place) == {"duplicated": 1, "wrong": 2}


def test_an_id_in_two_runs(place, made, tmp_path):
    images = shutil.copytree(made / "images", tmp_path / "images", copy_function=shutil.copyfile)  # new dates
    write(str(images), place["sink"], images_per_unit=SIZE)
    assert counts({**place, "source": str(images)})["duplicated"] == NUM_IMAGES


def test_a_phantom(place, forger):
    forger.table("index", forging.with_row(image_id="nobody.jpg"))
    assert counts(place).keys() == {"wrong"}


@pytest.mark.parametrize("column", ["fpn_0", "fpn_1", "embedding", "original_width"])
def test_swapped_features(column, place, forger):
    forger.shard(1, forging.swapped(column))
    assert counts(place) == {"wrong": 2}


@pytest.mark.parametrize("column", ["embedding", "row", "uri"])
def test_a_swapped_index(column, place, forger):
    forger.table("index", forging.swapped(column))
    assert counts(place) == {"wrong": 2}


def test_a_partial_shard(place, forger):
    forger.shard(1, lambda table: table.slice(0, table.num_rows - 1))
    assert counts(place) == {"lost": 1, "wrong": 1}


def test_a_truncated_shard(place, forger):
    path = forger.shard_path(1)
    path.write_bytes(path.read_bytes()[:-100])
    assert counts(place)["lost"] == NUM_IMAGES


def test_a_missing_shard(place, forger):
    forger.shard_path(1).unlink()
    assert counts(place)["lost"] == NUM_IMAGES


def test_a_shard_that_is_not_the_committed_one(place, forger):
    commit = forger.commit(0)
    forger.replace(paths.commit(1, 0), commit.model_copy(update={"shard": forger.commit(1).shard}))
    assert counts(place) == {"wrong": 2}


def test_a_commit_too_few(place):
    Folder(place["sink"]).delete(paths.commit(1, 2))
    assert counts(place) == {"wrong": 3}


def test_a_commit_too_many(place, forger):
    forger.copy_commit(2, 3)
    assert counts(place) == {"wrong": 1}


def test_a_good_image_in_quarantine_for_trouble(place, forger):
    forger.table("quarantine", forging.with_first(error_type="StoreUnavailable"))
    assert counts(place) == {"wrong": 1}


def test_another_feature_sets_positions(place, tmp_path):
    (encodings,) = (tmp_path / "sink" / "position_encodings").iterdir()
    encodings.write_bytes(encodings.read_bytes()[:-1] + b"?")
    assert counts(place)["lost"] == NUM_IMAGES


def test_counts_that_do_not_add_up(place, forger):
    forger.replace(paths.manifest(1), forger.manifest.model_copy(update={"num_quarantined": 0}))
    assert counts(place)["wrong"] > 0


def test_no_feature_set(place):
    assert counts({**place, "sink": f"{place['sink']}/nothing"}) == {"lost": NUM_IMAGES}


def test_orphans_are_counted_and_no_harm(place, forger):
    path = forger.shard_path(1)
    shutil.copy(path, path.with_name(f"{path.name[:-9]}aaaa.parquet"))
    verdict = verdict_on(**place)
    assert (verdict.is_good, verdict.orphans) == (True, 1)


def test_readers_see_a_change(place, forger):
    seen, picture = read(place["sink"]), verdict_on(**place).picture
    forger.shard(1, forging.swapped("fpn_0"))
    assert read(place["sink"]) != seen
    assert verdict_on(**place).picture != picture
    forger.shard_path(1).unlink()
    assert read(place["sink"]).startswith("noticed: FeatureSetError")


def test_some_of_the_images_are_bad(made):
    bad = [path for path in (made / "images").rglob("*.jpg") if is_poison(path.read_bytes())]
    assert 0 < len(bad) < NUM_IMAGES / 2

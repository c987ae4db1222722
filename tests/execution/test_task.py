"""What a command names is checked before anything is written, and the run it works on is the right one."""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import pipeline
from pipeline.config import JobConfig, job_config
from pipeline.errors import ConfigError, RunConflictError, RunIncompleteError, SourceError
from pipeline.execution.task import Task
from pipeline.featureset import catalog
from pipeline.featureset.records import CommitRecord, QuarantineRow, RunRecord
from pipeline.featureset.schema import PART, TILES
from pipeline.sinks.commits import commit_unit
from pipeline.sinks.runs import abandon_run
from pipeline.sinks.seal import seal_run
from pipeline.sinks.shards import EmbeddedImages, shard_writer
from pipeline.storage.folder import Folder
from tests.faults.proxied import ProxiedBucket
from tests.small_set import pooled_values


@pytest.fixture
def configure(tmp_path) -> Callable[..., JobConfig]:
    """A configuration of three files that never get decoded."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (folder / name).write_text(name)

    def make(**changes: object) -> JobConfig:
        values: dict[str, dict[str, object]] = {
            "source": {"kind": "directory", "uri": str(folder), "suffixes": [".JPG"]},
            "sink": {"uri": str(tmp_path / "features")},
            "model": {"name": "hiera_debug", "checkpoint": "random", "overrides": []},
            "features": {"kind": "fpn"},
            "preprocess": {},
            "execution": {},
            "run": {},
        }
        for field, value in changes.items():
            section, _, name = field.partition("__")
            values[section][name] = value
        return job_config(values)

    return make


class MeanwhileSource:
    """A source during whose listing something else happens."""

    def __init__(self, source, happens: Callable[[], object]) -> None:
        self._source, self._happens = source, happens
        self.description, self.schema, self.num_ignored = source.description, source.schema, 0

    def refs(self) -> Iterator[pa.RecordBatch]:
        self._happens()
        yield from self._source.refs()


class Command:
    """A command that is given again and again; what it names is opened once, since that takes half a second."""

    def __init__(self, config: JobConfig) -> None:
        self.task = Task.of(config)
        self.settings = self.task.settings(config, "cpu")

    def begin(self, retried: str = "none", images_per_unit: int = 2) -> RunRecord | None:
        """The run to work on."""
        return self.task.open_run(self.settings, images_per_unit, retry_quarantined=retried)

    def planned(self, run: RunRecord) -> list[str]:
        """The ids of a run's images, in order."""
        plan = catalog.read_table(self.task.root, run.plan)
        return [image_id for ids in plan["image_id"].to_pylist() for image_id in ids]

    def finish(self, retried: str = "none", *, bad: Mapping[str, str] = MappingProxyType({})) -> list[str]:
        """Ends the run to work on without an encoder, and gives the ids of its images.

        The images in `bad` are quarantined with that error class, of sets with maps all of them; the others are
        embedded as `pooled_values` of their ids and the run's number.
        """
        run = self.begin(retried)
        for unit in catalog.read_table(self.task.root, run.plan).to_pylist():
            self._commit(run, unit["unit"], list(zip(unit["image_id"], unit["uri"], strict=True)), bad)
        seal_run(self.task.root, run)
        return self.planned(run)

    def _commit(self, run: RunRecord, unit: int, places: list[tuple[str, str]], bad: Mapping[str, str]) -> None:
        root = self.task.root
        good = [(name, uri) for name, uri in places if name not in bad and not self.task.maps]
        with shard_writer(root, catalog.feature_set_record(root), run=run.run, unit=unit) as shard:
            if good:
                ids, uris = map(list, zip(*good, strict=True))
                vectors = np.stack([pooled_values(name, str(run.run)) for name in ids])
                shard.append(EmbeddedImages(ids, uris, [(1, 1)] * len(ids), {}, vectors))
        commit = {"run": run.run, "unit": unit, "token": "t", "fingerprint": run.fingerprint}
        rows = tuple(quarantined(*place, bad) for place in places if place not in good)
        commit_unit(root, CommitRecord(**commit, shard=shard.file, rows=shard.rows, quarantine=rows))


def quarantined(image_id: str, uri: str, classes: Mapping[str, str]) -> QuarantineRow:
    why = {"stage": "fetch", "error_type": "Test", "message": "test"}
    return QuarantineRow(image_id=image_id, uri=uri, error_class=classes.get(image_id, "permanent"), **why)


def begin(config: JobConfig) -> RunRecord | None:
    return Command(config).begin()


def finish(config: JobConfig) -> list[str]:
    return Command(config).finish()


def contents(path: Path) -> dict[Path, bytes]:
    """Every file below a folder."""
    return {each: each.read_bytes() for each in path.rglob("*") if each.is_file()}


def test_a_new_run_holds_every_image_and_the_same_command_continues_it(configure):
    run = begin(configure())
    assert (run.run, run.num_images, run.num_units) == (1, 3, 2)
    assert begin(configure(execution__images_per_unit=1)) == run, "an open run keeps its plan"


def test_the_background_is_in_the_settings_and_caps_are_not(configure):
    chosen = configure(preprocess__background=[1, 2, 3], execution__decode_max_megapixels=5)
    settings, usual = (Task.of(config).settings(config, "cpu") for config in (chosen, configure()))
    assert settings["preprocessing"] == {**usual["preprocessing"], "background": [1, 2, 3]}
    assert usual["preprocessing"]["background"] == [255, 255, 255]


def test_how_images_are_parted_is_in_the_settings_and_sets_of_whole_ones_say_nothing(configure):
    def preprocessing(**preprocess: object) -> dict[str, object]:
        changes = {f"preprocess__{name}": value for name, value in preprocess.items()}
        config = configure(**changes)
        return Task.of(config).settings(config, "cpu")["preprocessing"]

    whole = preprocessing()
    assert not {"frames", "tiles"} & whole.keys()
    assert preprocessing(frames="all") == {**whole, "frames": "all"}
    tiles = preprocessing(kind="tiles", tile_px=512, overlap_px=64)
    assert tiles == {**whole, "tiles": {"tile_px": 512, "overlap_px": 64}}


def test_a_plan_of_tiles_and_frames_carries_their_columns(configure, tmp_path):
    folder = tmp_path / "photos"
    Image.new("RGB", (300, 200)).save(folder / "a.jpg")
    run = begin(configure(preprocess__kind="tiles", preprocess__tile_px=256, preprocess__overlap_px=32))
    plan = catalog.read_table(Folder(tmp_path / "features"), run.plan)
    assert run.num_images == 4, "two tiles, and two files that are no images"
    assert [box for unit in plan["box_left"].to_pylist() for box in unit] == [0, 44, None, None]
    assert plan.column_names[-9:] == [PART.name, *TILES.names]


def test_settings_never_mix_even_if_the_set_is_claimed_while_the_source_is_listed(configure):
    other = configure(model__overrides=["neck.fuse_type=avg"])
    task = Task.of(other)
    slow = replace(task, source=MeanwhileSource(task.source, lambda: begin(configure())))
    with pytest.raises(RunConflictError, match=r"encoder.neck.fuse_type: sum -> avg"):
        slow.open_run(task.settings(other, "cpu"))
    assert catalog.run_numbers(task.root) == [1]


def test_a_run_sealed_while_the_source_is_listed_is_not_done_again(configure):
    task = Task.of(configure())
    slow = replace(task, source=MeanwhileSource(task.source, lambda: finish(configure())))
    assert slow.open_run(task.settings(configure(), "cpu")) is None
    assert begin(configure()) is None, "nothing is left to do"
    assert catalog.run_numbers(task.root) == [1]


def test_a_plan_that_others_overtook_is_not_used(configure, tmp_path):
    task = Task.of(configure())

    def meanwhile() -> None:
        finish(configure())
        (tmp_path / "photos/d.jpg").write_text("d")

    slow = replace(task, source=MeanwhileSource(task.source, meanwhile))
    with pytest.raises(RunIncompleteError, match="run this one again"):
        slow.open_run(task.settings(configure(), "cpu"))
    assert finish(configure()) == ["d.jpg"]


def test_a_later_run_holds_what_is_new_or_changed(configure, tmp_path):
    finish(configure())
    assert begin(configure()) is None
    (tmp_path / "photos/b.jpg").write_text("another b")
    (tmp_path / "photos/d.jpg").write_text("d")
    assert begin(configure()).removed is None
    assert finish(configure()) == ["b.jpg", "d.jpg"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model__overrides": ["neck.fuse_type=avg"]}, "encoder.neck.fuse_type: sum -> avg"),
        ({"model__checkpoint": "random:7"}, "weights.seed: 0 -> 7"),
        ({"features__kind": "embed"}, "features: fpn -> embed"),
        ({"features__kind": "decoder"}, "features: fpn -> decoder"),
        ({"features__storage_dtype": ["int8", "float16", "float16"]}, "storage_dtype: float16 -> ['int8', 'float16'"),
        ({"features__levels": [2]}, "levels: (absent) -> [2]"),
        ({"features__layout": "tensor"}, "layout: (absent) -> tensor"),
        ({"features__grid": 4}, "grid: (absent) -> 4"),
        ({"features__pooling": "gem"}, "pooling: (absent) -> gem"),
        ({"features__storage_dtype": "float32"}, "storage_dtype: float16 -> float32"),
        ({"preprocess__side_px": 64}, "preprocessing.side_px: 128 -> 64"),
        ({"execution__precision": "bf16"}, "precision: fp32 -> bf16"),
    ],
)
def test_everything_that_can_change_a_number_is_guarded(configure, change, told):
    begin(configure(execution__precision="fp32"))
    with pytest.raises(RunConflictError) as caught:
        begin(configure(**{"execution__precision": "fp32", **change}))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "change", [{"execution__images_per_unit": 1}, {"execution__num_encoders": 2}, {"execution__images_per_batch": 3}]
)
def test_what_only_changes_speed_is_not(configure, change):
    assert begin(configure(**change)) == begin(configure())


def test_precision_auto_means_what_it_meant_when_the_set_was_made(configure):
    begin(configure(execution__precision="bf16"))
    task = Task.of(configure())
    assert task.settings(configure(), "cpu")["precision"] == "bf16"


def test_a_gpu_of_the_cluster_need_not_be_the_drivers(configure):
    assert Task.of(configure()).settings(configure(), "cuda")["precision"] == "bf16"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"source__uri": "/nowhere/at/all"}, SourceError),
        ({"model__name": "sam3"}, ConfigError),
        ({"model__checkpoint": "/no/such.pt"}, ConfigError),
        ({"preprocess__side_px": 100}, ConfigError),
        ({"sink__uri": "memory://bucket/features"}, ConfigError),
    ],
)
def test_a_command_that_makes_no_sense_writes_nothing(configure, tmp_path, change, error):
    with pytest.raises(error):
        begin(configure(**change))
    assert not (tmp_path / "features").exists()


def test_a_source_without_images_writes_nothing_and_says_what_was_passed_over(configure, tmp_path):
    for path in (tmp_path / "photos").iterdir():
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(SourceError, match=r"3 files were passed over .*source.suffixes=null"):
        begin(configure())
    assert not (tmp_path / "features").exists()
    assert begin(configure(source__suffixes=None)).num_images == 3


def test_position_encodings_may_have_other_channels_than_the_maps(configure):
    assert begin(configure(model__overrides=["neck.d_model=64"])).num_images == 3


# One run after another


@pytest.fixture
def command(configure) -> Command:
    """A command for a set of pooled vectors, which needs no encoder to be filled."""
    return Command(configure(features__kind="pooled"))


def test_where_nothing_has_changed_nothing_is_written(command, tmp_path):
    command.finish()
    before = contents(tmp_path)
    for retried in ("none", "transient", "all"):
        assert command.begin(retried) is None
    assert contents(tmp_path) == before


def test_images_that_are_gone_are_told_once_by_a_run_without_images(command, tmp_path):
    command.finish()
    for name in ("c.jpg", "a.jpg"):
        (tmp_path / "photos" / name).unlink()
    run = command.begin()
    assert (run.run, run.num_images, run.num_units) == (2, 0, 0)
    assert command.begin() == run, "an open run is continued"
    assert command.finish() == []
    features = pipeline.open_features(tmp_path / "features")
    assert features.removed["image_id"].to_pylist() == ["a.jpg", "c.jpg"]
    assert features.image_ids == ["a.jpg", "b.jpg", "c.jpg"], "their features stay"
    before = contents(tmp_path)
    for retried in ("none", "all"):
        assert command.begin(retried) is None
    assert contents(tmp_path) == before


def test_images_that_come_back_unchanged_are_not_embedded_but_no_longer_gone(command, tmp_path):
    command.finish()
    photo = tmp_path / "photos/a.jpg"
    photo.rename(tmp_path / "a.jpg")
    command.finish()
    (tmp_path / "a.jpg").rename(photo)
    assert command.finish() == []
    assert pipeline.open_features(tmp_path / "features").removed.num_rows == 0
    assert command.begin() is None
    photo.unlink()
    command.finish()
    photo.write_text("another a")
    assert command.finish() == ["a.jpg"]


def test_new_and_removed_images_make_one_run(command, tmp_path):
    command.finish()
    (tmp_path / "photos/a.jpg").unlink()
    (tmp_path / "photos/d.jpg").write_text("d")
    run = command.begin()
    assert command.planned(run) == ["d.jpg"]
    removed = catalog.read_table(command.task.root, run.removed)
    assert removed["image_id"].to_pylist() == ["a.jpg"]


def test_a_source_that_has_lost_all_its_images_is_told_so(command, tmp_path):
    command.finish()
    for path in (tmp_path / "photos").iterdir():
        path.unlink()
    assert command.finish() == []
    assert pipeline.open_features(tmp_path / "features").removed.num_rows == 3
    assert command.begin() is None


@pytest.mark.parametrize(
    ("retried", "expected"), [("none", None), ("transient", ["a.jpg"]), ("all", ["a.jpg", "b.jpg"])]
)
def test_quarantined_images_are_tried_again_as_asked(command, retried, expected):
    command.finish(bad={"a.jpg": "transient", "b.jpg": "permanent"})
    run = command.begin(retried)
    assert (run and command.planned(run)) == expected


def test_an_image_that_was_mended_is_not_tried_again_and_one_that_failed_again_is(command, tmp_path):
    command.finish(bad={"a.jpg": "transient", "b.jpg": "transient"})
    assert command.finish("transient", bad={"b.jpg": "transient"}) == ["a.jpg", "b.jpg"]
    assert command.finish("transient", bad={"b.jpg": "permanent"}) == ["b.jpg"]
    assert command.begin("transient") is None
    features = pipeline.open_features(tmp_path / "features")
    assert sorted(features.image_ids) == ["a.jpg", "c.jpg"]
    assert features.quarantine["error_class"].to_pylist() == ["permanent"]


def test_after_a_run_was_given_up_its_images_are_planned_again(command, tmp_path):
    command.finish()
    (tmp_path / "photos/d.jpg").write_text("d")
    given_up = command.begin()
    abandon_run(command.task.root, given_up.run)
    run = command.begin()
    assert (run.run, command.planned(run)) == (3, ["d.jpg"])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_after_ten_runs_the_last_state_of_every_image_counts(command, tmp_path, seed):
    """Photographs come, change, break, are mended, go and come back; checked against a dictionary."""
    chance, photos = random.Random(seed), tmp_path / "photos"
    state: dict[str, int | None] = {}  # the run an image was embedded in; None if it is quarantined
    for run in range(1, 11):
        for number in range(12):
            path = photos / f"{number}.jpg"
            if chance.random() < 0.2:
                path.unlink(missing_ok=True)
            elif chance.random() < 0.3:
                path.write_text("x" * chance.randrange(10_000))
        (photos / f"new-{run}.jpg").write_text("new")
        listed = {path.name for path in photos.iterdir()}
        bad = {name: "permanent" for name in listed if chance.random() < 0.3}
        done = command.finish(chance.choice(["none", "all"]), bad=bad)
        assert f"new-{run}.jpg" in done, (seed, run)
        state.update({name: None if name in bad else run for name in done})

        features = pipeline.open_features(tmp_path / "features")
        assert set(features.image_ids) == {name for name, embedded in state.items() if embedded}, (seed, run)
        assert set(features.quarantine["image_id"].to_pylist()) == state.keys() - set(features.image_ids), (seed, run)
        assert features.removed["image_id"].to_pylist() == sorted(state.keys() - listed), (seed, run)
        for name in features.image_ids:
            expected = pooled_values(name, str(state[name]))
            np.testing.assert_array_equal(features[name].embedding, expected, err_msg=f"{seed} {run} {name}")
        assert command.begin() is None, (seed, run)


def test_a_plan_of_thousands_of_units_is_whole(configure, folder_in_memory):
    """More units than are cut at once, so that the rest is planned after images that are gone were asked for."""
    command = Command(configure(source__uri=str(folder_in_memory)))
    names = [f"{number:04d}.jpg" for number in range(2500)]
    for name in names:
        (folder_in_memory / name).touch()
    run = command.begin(images_per_unit=1)
    assert (run.num_images, run.num_units) == (2500, 2500)
    assert command.planned(run) == names


def test_a_set_in_a_bucket_is_begun_continued_and_found_unchanged(configure, store: ProxiedBucket):
    command = Command(configure(features__kind="pooled", sink__uri=f"s3://{store.bucket}/features"))
    run = command.begin()
    assert command.begin() == run
    assert command.finish() == ["a.jpg", "b.jpg", "c.jpg"]
    store.proxy.forget()
    assert command.begin() is None
    assert store.proxy.num_mutating == 0

"""What a command names is checked before anything is written, and the run it works on is the right one."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from pipeline.config import JobConfig, job_config
from pipeline.errors import ConfigError, RunConflictError, RunIncompleteError, SourceError
from pipeline.execution.task import Task
from pipeline.featureset import catalog
from pipeline.featureset.records import CommitRecord, QuarantineRow
from pipeline.sinks.commits import commit_unit
from pipeline.sinks.seal import seal_run
from pipeline.sources.image_ref import ImageRef


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
        self.description, self.num_ignored = source.description, 0

    def refs(self) -> Iterator[ImageRef]:
        self._happens()
        yield from self._source.refs()


def begin(config: JobConfig):
    task = Task.of(config)
    return task.open_run(task.settings(config, "cpu"), 2)


def quarantine_all(config: JobConfig) -> None:
    """Ends the open run the quick way: every image of it as quarantine."""
    task = Task.of(config)
    run = task.open_run(task.settings(config, "cpu"))
    why = {"stage": "decode", "error_class": "permanent", "error_type": "Test", "message": "test"}
    for unit in catalog.read_table(task.root, run.plan).to_pylist():
        rows = [
            QuarantineRow(image_id=name, uri=uri, **why)
            for name, uri in zip(unit["image_id"], unit["uri"], strict=True)
        ]
        commit = {"run": run.run, "unit": unit["unit"], "token": "t", "fingerprint": run.fingerprint, "shard": None}
        commit_unit(task.root, CommitRecord(**commit, quarantine=tuple(rows)))
    seal_run(task.root, run)


def test_a_new_run_holds_every_image_and_the_same_command_continues_it(configure):
    run = begin(configure())
    assert (run.run, run.num_images, run.num_units) == (1, 3, 2)
    assert begin(configure(execution__images_per_unit=1)) == run, "an open run keeps its plan"


def test_settings_never_mix_even_if_the_set_is_claimed_while_the_source_is_listed(configure):
    other = configure(model__overrides=["neck.fuse_type=avg"])
    task = Task.of(other)
    slow = replace(task, source=MeanwhileSource(task.source, lambda: begin(configure())))
    with pytest.raises(RunConflictError, match=r"encoder.neck.fuse_type: sum -> avg"):
        slow.open_run(task.settings(other, "cpu"))
    assert catalog.run_numbers(task.root) == [1]


def test_a_run_sealed_while_the_source_is_listed_is_not_done_again(configure):
    task = Task.of(configure())
    slow = replace(task, source=MeanwhileSource(task.source, lambda: quarantine_all(configure())))
    with pytest.raises(RunIncompleteError, match="run this one again"):
        slow.open_run(task.settings(configure(), "cpu"))
    assert begin(configure()) is None, "nothing is left to do"


def test_a_later_run_holds_what_is_new_or_changed(configure, tmp_path):
    quarantine_all(configure())
    assert begin(configure()) is None
    (tmp_path / "photos/b.jpg").write_text("another b")
    (tmp_path / "photos/d.jpg").write_text("d")
    run = begin(configure())
    plan = catalog.read_table(Task.of(configure()).root, run.plan)
    assert plan["image_id"].combine_chunks().flatten().to_pylist() == ["b.jpg", "d.jpg"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model__overrides": ["neck.fuse_type=avg"]}, "encoder.neck.fuse_type: sum -> avg"),
        ({"model__checkpoint": "random:7"}, "weights.seed: 0 -> 7"),
        ({"features__kind": "embed"}, "features: fpn -> embed"),
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
        ({"sink__uri": "s3://bucket/features"}, ConfigError),
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

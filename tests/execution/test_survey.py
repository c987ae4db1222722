"""What there is to do is found as a run finds it, from every kind of source, and nothing is written for it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.config import JobConfig, job_config
from pipeline.errors import RunConflictError, SourceError
from pipeline.execution.survey import Survey, survey
from pipeline.execution.task import Task
from pipeline.featureset import catalog
from pipeline.sinks.runs import abandon_run
from tests.tars import write_tar


def configure(source: dict[str, object], sink: Path | str, **changes: object) -> JobConfig:
    """A configuration with the toy encoder."""
    values = {
        "source": source,
        "sink": {"uri": str(sink)},
        "model": {"name": "hiera_debug", "checkpoint": "random"},
        "features": {"kind": "embed"},
        "preprocess": {},
        "execution": {"images_per_unit": 2},
    }
    return job_config({**values, **changes})


def surveyed(config: JobConfig, num_drawn: int = 0) -> Survey:
    task = Task.of(config)
    return survey(task, task.settings(config, "cpu"), config, num_drawn=num_drawn)


@pytest.fixture
def folder(tmp_path: Path, make_photos) -> Path:
    make_photos(tmp_path / "photos", 5)
    return tmp_path / "photos"


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_a_new_set_has_everything_to_do_and_is_not_made(folder, tmp_path):
    sink = tmp_path / "features"
    found = surveyed(configure({"kind": "directory", "uri": str(folder)}, sink))
    assert (found.num_found, found.num_images, found.num_unsized, found.run) == (5, 5, 0, None)
    assert found.in_bytes == size_of(folder)
    assert sorted(found.names) == [(path.name, str(path)) for path in sorted(folder.iterdir())]
    assert not found.is_remote
    assert not sink.exists()


def test_the_plan_is_as_long_as_the_one_that_is_written_then(folder, tmp_path):
    config = configure({"kind": "directory", "uri": str(folder)}, tmp_path / "features")
    found, task = surveyed(config), Task.of(config)
    run = task.open_run(task.settings(config, "cpu"), 2)
    assert found.plan_bytes == run.plan.size_bytes
    again = surveyed(config)
    assert (again.run, again.num_images, again.plan_bytes) == (1, 5, 0), "an open run has its plan"
    assert again.in_bytes == found.in_bytes
    with pytest.raises(RunConflictError, match="another source"):
        surveyed(configure({"kind": "directory", "uri": str(folder.parent)}, tmp_path / "features"))
    with pytest.raises(RunConflictError, match="other settings"):
        surveyed(configure({"kind": "directory", "uri": str(folder)}, tmp_path / "features", features={"kind": "fpn"}))
    abandon_run(task.root, 1)
    assert surveyed(config).run is None
    assert catalog.run_numbers(task.root) == [1]


def test_every_kind_of_source_says_what_it_would_read(folder, tmp_path):
    names = sorted(path.name for path in folder.iterdir())
    write_tar(tmp_path / "tars" / "a.tar", {name: (folder / name).read_bytes() for name in names})
    pq.write_table(pa.table({"uri": names[:3], "size_bytes": [10, 20, 0]}), folder / "list.parquet")
    images = [{"bytes": (folder / name).read_bytes(), "path": name} for name in names]
    (tmp_path / "rows").mkdir()
    pq.write_table(pa.table({"image": images}), tmp_path / "rows" / "a.parquet")
    counts = {}
    for kind, uri in {
        "tar": tmp_path / "tars",
        "manifest": folder / "list.parquet",
        "parquet": tmp_path / "rows",
    }.items():
        found = surveyed(configure({"kind": kind, "uri": str(uri)}, tmp_path / "features"))
        counts[kind] = (found.num_images, found.in_bytes, found.num_unsized)
    images_bytes = size_of(folder) - (folder / "list.parquet").stat().st_size
    rows_bytes = (tmp_path / "rows" / "a.parquet").stat().st_size
    assert counts == {"tar": (5, images_bytes, 0), "manifest": (3, 30, 1), "parquet": (5, rows_bytes, 0)}


def test_tiles_of_a_file_are_images_and_its_bytes_count_once(tmp_path):
    (tmp_path / "slides").mkdir()
    Image.new("RGB", (700, 300)).save(tmp_path / "slides" / "a.png")
    tiles = {"kind": "tiles", "tile_px": 256, "overlap_px": 0}
    config = configure({"kind": "directory", "uri": str(tmp_path / "slides")}, tmp_path / "features", preprocess=tiles)
    found = surveyed(config)
    assert found.num_images == 6
    assert found.in_bytes == size_of(tmp_path / "slides")
    assert Task.of(config).asks_for_parts


def test_images_are_drawn_from_all_of_the_source_and_the_same_ones_each_time(tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(300):
        (folder / f"{number:03d}.jpg").touch()
    config = configure({"kind": "directory", "uri": str(folder)}, tmp_path / "features")
    found = surveyed(config, num_drawn=100)
    places = np.array([int(name[:3]) for name, _ in found.names])
    assert len(places) == 100
    assert (np.diff(places) > 0).all()
    assert 100 < places.mean() < 200
    assert found.names == surveyed(config, num_drawn=100).names
    few = [int(name[:3]) for name in found.some(4)["image_id"].to_pylist()]
    assert len(few) == 4
    assert few[-1] > 150


def test_a_source_without_images_is_refused_as_a_run_refuses_it(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").touch()
    source = {"kind": "directory", "uri": str(tmp_path / "empty"), "suffixes": [".jpg"]}
    with pytest.raises(SourceError, match="1 files were passed over"):
        surveyed(configure(source, tmp_path / "features"))

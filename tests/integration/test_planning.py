"""A plan, and the run that is made afterwards: counts are the same, bytes nearly; what has no room is refused."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pipeline
from pipeline.config import checked_job, job_config
from pipeline.errors import SinkError
from pipeline.execution.forecasting import plan
from pipeline.execution.run import embed
from pipeline.plan_config import PlanConfig
from tests.conftest import REPOSITORY

PRICES = {"storage_gb_month": 0.02, "put_1000": 0.005, "get_1000": 0.0004, "gpu_hour": 2, "cpu_hour": 0.05}


def values(source: dict[str, object], sink: Path, model: str = "hiera_debug") -> dict[str, object]:
    return {
        "source": source,
        "sink": {"uri": str(sink)},
        "model": {"name": model, "checkpoint": "random"},
        "features": {"kind": "fpn"},
        "preprocess": {},
        "execution": {"images_per_unit": 7},
    }


@pytest.mark.cluster
def test_a_plan_is_right_about_the_run_that_is_made_afterwards(start_on_head, ray_head, make_photos, tmp_path):
    folder, sink = tmp_path / "photos", tmp_path / "out" / "features"
    make_photos(folder, 40)
    sink.parent.mkdir()
    command = [f"source.uri={folder}", f"sink.uri={sink}", "model=hiera_debug", "model.checkpoint=random"]
    command.append("execution.images_per_unit=7")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | ray_head
    measuring = [sys.executable, "jobs/plan.py", *command, "plan.measure_images=8", "execution.num_encoders=1"]
    told = subprocess.run(
        measuring, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert told.returncode == 0, told
    assert re.search(r"s an image, measured just now over 6 images\n", told.stdout), told
    assert re.search(r"the disk takes [\d.]+ [MG]B a second\n", told.stdout), told
    assert list(sink.parent.iterdir()) == [], "what was embedded to measure is gone, and nothing else was written"

    source = {"kind": "directory", "uri": str(folder)}
    said = plan(checked_job({**values(source, sink), "plan": {}, "prices": PRICES}, PlanConfig))
    done = start_on_head(*command).finish()
    assert done.code == 0, str(done)
    files = [path for path in sink.rglob("*") if path.is_file()]
    shards = pipeline.open_features(sink).files
    assert (said.volume.num_units, said.volume.num_objects) == (len(shards), len(files)) == (6, 22)
    assert said.volume.shard_bytes == pytest.approx(sum(Path(each).stat().st_size for each in shards), rel=0.01)
    assert said.volume.total_bytes == pytest.approx(sum(path.stat().st_size for path in files), rel=0.02)

    make_photos(folder, 43)
    (folder / "00000.jpg").touch()  # changed, by its time
    more = plan(checked_job({**values(source, sink), "plan": {}, "prices": PRICES}, PlanConfig)).page.work
    assert (more.num_found, more.num_images) == (43, 43), "all were written anew"


def test_what_no_disk_has_room_for_is_refused_before_a_cluster_is_there(tmp_path):
    """Of 300,000 images of 44 MB."""
    listed, sink = tmp_path / "list.parquet", tmp_path / "features"
    pq.write_table(pa.table({"uri": [f"{number}.jpg" for number in range(300_000)]}), listed)
    source = {"kind": "manifest", "uri": str(listed)}
    config = {**values(source, sink, "sam2.1_hiera_tiny"), "plan": {}, "prices": PRICES}
    said = plan(checked_job(config, PlanConfig))
    assert "TOO LITTLE" in said.text()
    with pytest.raises(
        SinkError, match=r"too small: the features take 13\.\d TB, and [\d.]+ [MGT]B are free"
    ) as planned:
        said.require_room()
    with pytest.raises(SinkError, match=r"too small: the features take 13\.\d TB") as embedded:
        embed(job_config(values(source, sink, "sam2.1_hiera_tiny")))
    assert planned.value.exit_code == embedded.value.exit_code == 73

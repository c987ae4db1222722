"""A plan is made of the same configuration as a run: on what there is, or on what it says there will be."""

from pathlib import Path

import pytest

from pipeline.config import ExecutionConfig, checked_job
from pipeline.errors import ConfigError, RunConflictError, SinkError
from pipeline.execution.forecasting import placed, plan
from pipeline.execution.resources import Node
from pipeline.forecast.disk import Room
from pipeline.plan_config import PlanConfig
from tests.faults.proxied import ProxiedBucket
from tests.small_set import SmallSet

HERE = [Node(num_cpus=5, num_gpus=0, num_cores=2)]
PRICES = {"storage_gb_month": 0.02, "put_1000": 0.005, "get_1000": 0.0004, "gpu_hour": 2, "cpu_hour": 0.05}


def configure(source: Path | str, sink: Path | str, **sections: dict[str, object]) -> PlanConfig:
    values = {
        "source": {"kind": "directory", "uri": str(source)},
        "sink": {"uri": str(sink)},
        "model": {"name": "sam2.1_hiera_tiny", "checkpoint": "random"},
        "features": {"kind": "fpn"},
        "preprocess": {},
        "execution": {"precision": "bf16", "device": "cpu"},
        "plan": {},
        "prices": PRICES,
    }
    return checked_job({**values, **sections}, PlanConfig)


@pytest.fixture
def folder(tmp_path: Path, make_photos) -> Path:
    make_photos(tmp_path / "photos", 20)
    return tmp_path / "photos"


def test_encoders_that_do_not_fit_are_taken_to_be_elsewhere_if_it_is_said_how_many():
    assert placed(HERE, ExecutionConfig())[1]
    asked, are_here = placed(HERE, ExecutionConfig(device="cuda", num_encoders=10))
    assert (asked.device, asked.num_encoders, asked.num_gpus, are_here) == ("cuda", 10, 1, False)
    asked, are_here = placed(HERE, ExecutionConfig(num_encoders=50))
    assert (asked.device, asked.num_encoders, asked.num_threads, are_here) == ("cpu", 50, 2, False)
    with pytest.raises(ConfigError, match=r"no node of this Ray cluster has a GPU.*execution\.num_encoders="):
        placed(HERE, ExecutionConfig(device="cuda"))


def test_a_plan_tells_bytes_by_level_and_what_other_choices_would_take(folder, tmp_path):
    found = plan(configure(folder, tmp_path / "features"))
    page = found.page
    assert found.volume.map_bytes == {"fpn_0": 2 << 24, "fpn_1": 2 << 22, "fpn_2": 2 << 20}
    assert (found.volume.num_units, found.volume.images_per_unit) == (3, 9)
    assert page.speeds.rate.seconds_per_image == 0.428
    others = {name: each.volume.image_bytes for name, each in page.forecasts.items()}
    assert others["features=decoder"] == pytest.approx(8.4e6, rel=0.01)
    assert others["features.storage_dtype=int8"] == pytest.approx(22e6, rel=0.01)
    assert page.forecasts["features=decoder"].wall_s < page.base.wall_s
    assert "fpn_0      256 x 256 x 256" in found.text()
    assert not (tmp_path / "features").exists()


def test_what_was_changed_by_an_override_is_not_what_was_measured(folder, tmp_path):
    model = {"name": "sam2.1_hiera_tiny", "checkpoint": "random", "overrides": ["neck.fuse_type=avg"]}
    assert plan(configure(folder, tmp_path / "features", model=model)).page.speeds.rate is None
    given = plan(configure(folder, tmp_path / "features", model=model, plan={"seconds_per_image": 2.5})).page
    assert (given.speeds.rate.seconds_per_image, given.speeds.rate.known_from) == (2.5, "as given")
    elsewhere = {"device": "cuda", "num_encoders": 10}
    with pytest.raises(ConfigError, match=r"plan\.measure_images="):
        plan(configure(folder, tmp_path / "features", execution=elsewhere, plan={"measure_images": 8}))


def test_a_disk_that_is_too_small_is_refused_after_the_plan_is_told(folder, tmp_path):
    found = plan(configure(folder, tmp_path / "features"))
    found.require_room()
    small = Room(str(tmp_path), free_bytes=found.volume.total_bytes - 1, free_files=None)
    with pytest.raises(SinkError, match="too small") as caught:
        type(found)(type(found.page)(**{**vars(found.page), "room": small})).require_room()
    assert caught.value.exit_code == 73


def test_a_plan_of_a_bucket_counts_requests_and_leaves_nothing_there(folder, store: ProxiedBucket):
    sink = f"s3://{store.bucket}/features"
    config = configure(folder, sink, model={"name": "hiera_debug", "checkpoint": "random"}, plan={"link_gbit_s": 8})
    page = plan(config).page
    assert (page.room, page.work.writes_remote, page.work.reads_remote) == (None, True, False)
    assert page.base.limits["link"] == pytest.approx(page.base.volume.image_bytes / 1e9)
    assert (page.base.num_puts, page.base.num_gets) == (1 * 2 + 10 + 1, 3)
    assert store.keys() == []


def test_other_settings_are_refused_as_a_run_refuses_them(folder, tmp_path):
    SmallSet(tmp_path / "features")
    with pytest.raises(RunConflictError, match="other settings"):
        plan(configure(folder, tmp_path / "features"))

"""The plan job takes what the embed job takes, and what it is to reckon with."""

from dataclasses import asdict

import pytest

from pipeline.config import checked_job
from pipeline.errors import ConfigError
from pipeline.plan_config import PlanConfig

VALUES = {
    "source": {"kind": "sample"},
    "sink": {"uri": "features"},
    "model": {"name": "hiera_debug", "checkpoint": "random"},
    "features": {"kind": "fpn"},
    "preprocess": {},
    "execution": {},
    "plan": {},
    "prices": {"storage_gb_month": 0.02, "put_1000": 0, "get_1000": 0.0004, "gpu_hour": 2, "cpu_hour": 0.05},
}


def test_what_is_not_known_is_left_open():
    config = checked_job(VALUES, PlanConfig)
    assert set(asdict(config.plan).values()) == {None}
    assert config.prices.gpu_hour == 2


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [("plan", "measure_images", 4), ("plan", "link_gbit_s", 0), ("prices", "gpu_hour", -1), ("plan", "speed", 1)],
)
def test_what_cannot_be_is_named(section: str, name: str, value: float):
    with pytest.raises(ConfigError, match=rf"^{section}\.{name}="):
        checked_job({**VALUES, section: {**VALUES[section], name: value}}, PlanConfig)

#!/usr/bin/env python
"""What an embed command would find, write, take and cost: python jobs/plan.py with its overrides [plan.*=...]."""

from typing import Any

from embed import with_model
from job import run_job


def plan(values: dict[str, Any], overrides: list[str]) -> None:
    """Checks the configuration, looks what there is to do and prints what that comes to.

    Raises:
        SinkError: the disk of the sink is too small for it.
    """
    from pipeline.config import checked_job
    from pipeline.execution.preflight import check_places
    from pipeline.plan_config import PlanConfig

    config = checked_job(with_model(values, overrides), PlanConfig)
    check_places(config, writes=False)

    from pipeline.execution.forecasting import plan as plan_images  # torch and ray only for a command that makes sense

    found = plan_images(config)
    print(found.text(), flush=True)
    found.require_room()


if __name__ == "__main__":
    run_job("plan", plan)

#!/usr/bin/env python
"""Embeds again what is broken: python jobs/repair.py with the overrides of the embed command [level=full]."""

from typing import Any

from embed import with_model
from job import run_job


def repair(values: dict[str, Any], overrides: list[str]) -> None:
    """Checks the configuration, looks for what is broken, embeds it again and prints what that came to."""
    from pipeline.config import RepairConfig, checked_job
    from pipeline.execution.preflight import check_places

    config = checked_job(with_model(values, overrides), RepairConfig)
    check_places(config)

    from pipeline.execution.repair import (
        repair as repair_images,
    )  # torch and ray only for a command that makes sense

    print(repair_images(config).text())


if __name__ == "__main__":
    run_job("repair", repair)

#!/usr/bin/env python
"""Embeds the images of a source into a feature set: python jobs/embed.py source.uri=... model.checkpoint=... ."""

import sys
from typing import Any

from job import model_overrides, refuse_lost_sink, run_job


def embed(values: dict[str, Any], overrides: list[str]) -> None:
    """Checks the configuration, runs the job and prints its summary."""
    from pipeline.config import job_config
    from pipeline.execution.preflight import check_places

    choices, model = values.pop("choices"), values["model"]
    values["model"] = {
        "name": choices["model"],
        "config": model["config"],
        "checkpoint": model["checkpoint"],
        "overrides": model_overrides(overrides),
    }
    config = job_config(values)
    refuse_lost_sink(config.sink.uri)
    check_places(config)

    from pipeline.execution.run import (
        embed as embed_images,
    )  # torch and ray only for a command that makes sense

    print(embed_images(config).text())


if __name__ == "__main__":
    sys.exit(run_job("embed", embed))

#!/usr/bin/env python
"""Embeds the images of a source into a feature set: python jobs/embed.py source.uri=... model.checkpoint=... ."""

from typing import Any

from job import model_overrides, run_job


def embed(values: dict[str, Any], overrides: list[str]) -> None:
    """Checks the configuration, runs the job and prints its summary."""
    from pipeline.config import job_config
    from pipeline.execution.preflight import check_places

    config = job_config(with_model(values, overrides))
    check_places(config)

    from pipeline.execution.run import (
        embed as embed_images,
    )  # torch and ray only for a command that makes sense

    print(embed_images(config).text())


def with_model(values: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """The values as configurations are checked: the model by its name, with the overrides that are its builder's."""
    model = {key: values["model"][key] for key in ("config", "checkpoint")}
    model |= {"name": values["choices"]["model"], "overrides": model_overrides(overrides)}
    return {**{key: value for key, value in values.items() if key != "choices"}, "model": model}


if __name__ == "__main__":
    run_job("embed", embed)

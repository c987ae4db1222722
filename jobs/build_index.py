#!/usr/bin/env python
"""Builds an index to search a feature set by: python jobs/build_index.py features.uri=... index.uri=... ."""

from typing import Any

from job import run_job


def build_index(values: dict[str, Any], _overrides: list[str]) -> None:
    """Builds it and prints how well it searches."""
    from pipeline.config import checked
    from pipeline.export_config import BuildIndexConfig
    from pipeline.exports.building import build_index as build
    from pipeline.exports.index_record import random_weights
    from pipeline.exports.recall import K

    del values["choices"]
    config = checked(BuildIndexConfig, values)
    record = build(config.features.uri, config.index.uri, config.vectors)
    warning = random_weights(record.settings)
    if warning:
        print(warning)
    print(f"indexed {record.num_vectors} vectors of {record.num_images} images, as of run {record.run}")
    effort = f"{record.num_probes} of {record.num_lists} lists a query"
    print(f"recall@{K} {record.recall:.3f} against exact search, {record.num_queries} queries measured; {effort}")


if __name__ == "__main__":
    run_job("build_index", build_index)

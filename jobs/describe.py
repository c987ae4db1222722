#!/usr/bin/env python
"""Writes a feature set's README.md and croissant.json anew: python jobs/describe.py sink.uri=... [licence=...]."""

from typing import Any

from job import run_job


def describe(values: dict[str, Any], _overrides: list[str]) -> None:
    """Writes both, and says where."""
    from pipeline.config import checked
    from pipeline.export_config import DescribeConfig
    from pipeline.exports.describe import describe as describe_set
    from pipeline.redaction import shown
    from pipeline.storage.folder import Folder

    del values["choices"]
    config = checked(DescribeConfig, values)
    root = Folder(config.sink.uri)
    describe_set(root, config.licence)
    print(f"described {shown(root.uri)}: README.md, croissant.json", flush=True)


if __name__ == "__main__":
    run_job("describe", describe)

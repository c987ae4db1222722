#!/usr/bin/env python
"""Gives up an open run, whose units then count for nothing: python jobs/abandon.py sink.uri=... run=N."""

from typing import Any

from job import run_job


def abandon(values: dict[str, Any], _overrides: list[str]) -> None:
    """Ends the run and says what that meant."""
    from pipeline.config import AbandonConfig, checked
    from pipeline.maintenance.abandon import abandon as abandon_run
    from pipeline.storage.folder import Folder

    del values["choices"]
    config = checked(AbandonConfig, {key: value for key, value in values.items() if value is not None})
    print(abandon_run(Folder(config.sink.uri), config.run))


if __name__ == "__main__":
    run_job("abandon", abandon)

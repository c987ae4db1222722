#!/usr/bin/env python
"""A feature set as a Feast repository: python jobs/export_feast.py features.uri=... export.uri=FOLDER."""

from typing import Any

from job import run_job


def export_feast(values: dict[str, Any], _overrides: list[str]) -> None:
    """Writes what the export lacks, and says what to tell Feast."""
    from pipeline.config import checked
    from pipeline.export_config import ExportFeastConfig
    from pipeline.exports.feast import export_feast as export_runs
    from pipeline.exports.local_output import local_path

    del values["choices"]
    config = checked(ExportFeastConfig, values)
    exported = export_runs(config.features.uri, local_path(config.export.uri, "export.uri"))
    print(exported.text(), flush=True)


if __name__ == "__main__":
    run_job("export_feast", export_feast)

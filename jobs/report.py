#!/usr/bin/env python
"""Makes a page that explains a feature set: python jobs/report.py sink.uri=... [output=report.html] [images=2000]."""

from typing import Any

from job import run_job


def report(values: dict[str, Any], _overrides: list[str]) -> None:
    """Writes the page and says where."""
    from pipeline.config import checked
    from pipeline.export_config import ReportConfig
    from pipeline.redaction import shown
    from pipeline.report.contents import ReportSize
    from pipeline.report.writing import write_report
    from pipeline.storage.folder import Folder

    del values["choices"]
    config = checked(ReportConfig, values)
    place = write_report(
        Folder(config.sink.uri),
        ReportSize(config.images, config.gallery),
        dollars_per_gb_month=config.dollars_per_gb_month,
        output=config.output,
    )
    print(f"report: {shown(place)}", flush=True)


if __name__ == "__main__":
    run_job("report", report)

#!/usr/bin/env python
"""Groups near-duplicates: python jobs/find_duplicates.py features.uri=... output=PATH.parquet [sheet=PATH.png]."""

from typing import Any

from job import run_job


def find_duplicates(values: dict[str, Any], _overrides: list[str]) -> None:
    """Writes the table, prints what it holds, and writes the sheet if one is asked for."""
    from pipeline.config import checked
    from pipeline.export_config import FindDuplicatesConfig
    from pipeline.exports.duplicates import find_duplicates as find
    from pipeline.exports.local_output import local_path

    del values["choices"]
    config = checked(FindDuplicatesConfig, {key: value for key, value in values.items() if value is not None})
    sheet = config.sheet and local_path(config.sheet, "sheet")
    found = find(config.features.uri, config.output, min_similarity=config.min_similarity)
    print(found.text(), flush=True)
    if sheet:
        found.write_sheet(sheet)


if __name__ == "__main__":
    run_job("find_duplicates", find_duplicates)

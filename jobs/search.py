#!/usr/bin/env python
"""Finds similar images: python jobs/search.py index.uri=... image_id=...|image=PATH [k=10] [region=...] [sheet=...]."""

from typing import Any

from job import run_job


def search(values: dict[str, Any], _overrides: list[str]) -> None:
    """Prints a table of what was found, and writes the sheet if one is asked for."""
    from pipeline.export_config import search_config
    from pipeline.exports.local_output import local_path
    from pipeline.exports.search import search_by_id, search_by_image, search_by_region
    from pipeline.exports.vector_index import VectorIndex

    del values["choices"]
    config = search_config(values)
    sheet = config.sheet and local_path(config.sheet, "sheet")
    index = VectorIndex(config.index.uri)
    if config.image is not None:
        found = search_by_image(index, config.image, config.k, checkpoint=config.model.checkpoint)
    elif config.region is not None:
        found = search_by_region(index, config.image_id or "", config.k, region=config.region)
    else:
        found = search_by_id(index, config.image_id or "", config.k)
    print(found.text(), flush=True)
    if sheet:
        found.write_sheet(sheet)


if __name__ == "__main__":
    run_job("search", search)

#!/usr/bin/env python
"""A mask from stored features: python jobs/segment.py features.uri=... image_id=... point=[x,y] model.checkpoint=..."""

from typing import Any

from job import run_job


def segment(values: dict[str, Any], _overrides: list[str]) -> None:
    """Writes a mask and an overlay, and says where."""
    from pipeline.config import checked
    from pipeline.export_config import SegmentConfig
    from pipeline.exports.local_output import local_path
    from pipeline.exports.segment import segment as segment_image

    del values["choices"]
    config = checked(SegmentConfig, values)
    segmented = segment_image(
        config.features.uri,
        config.image_id,
        points=config.point,
        background=config.background,
        checkpoint=config.model.checkpoint,
        output=local_path(config.output, "output"),
    )
    print(segmented.text(), flush=True)


if __name__ == "__main__":
    run_job("segment", segment)

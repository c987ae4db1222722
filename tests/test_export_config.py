"""Configurations of the jobs that use features: one line that names field and value, for what cannot be."""

from typing import Any

import pytest

from pipeline.config import checked
from pipeline.errors import ConfigError
from pipeline.export_config import SegmentConfig, search_config

SEGMENT = {"features": {"uri": "set"}, "image_id": "a.jpg", "output": "mask"}


@pytest.mark.parametrize(
    ("given", "points"),
    [([3, 4], ((3.0, 4.0),)), ([[3, 4], [5.5, 6]], ((3.0, 4.0), (5.5, 6.0))), ([], ())],
)
def test_one_point_or_several_are_points(given: Any, points: Any):
    assert checked(SegmentConfig, {**SEGMENT, "point": given}).point == points


@pytest.mark.parametrize("given", [[1, 2, 3], [[1, 2], [3]], ["x", 1]])
def test_what_is_no_point_is_named(given: Any):
    with pytest.raises(ConfigError, match=r"^point\.\d"):
        checked(SegmentConfig, {**SEGMENT, "point": given})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "image_id= .* or image= "),
        ({"image_id": "a", "image": "b"}, "one of the two"),
        ({"image": "b", "region": [0, 0, 1, 1]}, "region= needs image_id="),
        ({"image_id": "a", "sheet": "sheet.jpg"}, "sheet='sheet.jpg'"),
        ({"image_id": "a", "k": 0}, "k=0: "),
    ],
)
def test_a_search_that_cannot_be_is_refused(values: dict[str, Any], said: str):
    with pytest.raises(ConfigError, match=said):
        search_config({"index": {"uri": "index"}, **values})

"""Sources in configurations: each kind has its own fields, and says which it does not know."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline.source_config import DirectoryConfig, ManifestConfig, SampleConfig, SourceConfig, VideoConfig


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"kind": "sample", "uri": None}, SampleConfig("sample")),
        ({"kind": "video", "uri": "/x", "every": 5}, VideoConfig("video", "/x", None, 5)),
        ({"kind": "directory", "uri": "/x", "suffixes": [".jpg"]}, DirectoryConfig("directory", "/x", (".jpg",))),
        ({"kind": "manifest", "uri": "/x", "columns": []}, ManifestConfig("manifest", "/x", ())),
        ({"kind": "manifest", "roots": ["s3://b"]}, ManifestConfig("manifest", roots=("s3://b",))),
    ],
)
def test_a_kind_chooses_its_class(values: dict[str, Any], expected: object):
    assert TypeAdapter(SourceConfig).validate_python(values) == expected


@pytest.mark.parametrize("every", [0, -1, 2.5, True])
def test_every_counts_frames(every: object):
    with pytest.raises(ValidationError, match="every"):
        TypeAdapter(SourceConfig).validate_python({"kind": "video", "uri": "/x", "every": every})


def test_a_field_of_another_kind_is_refused():
    with pytest.raises(ValidationError, match="unexpected"):
        TypeAdapter(SourceConfig).validate_python({"kind": "sample", "suffixes": [".jpg"]})


@pytest.mark.parametrize(("field", "value"), [("max_images", 0), ("max_images", "many"), ("columns", "label")])
def test_a_value_that_makes_no_sense_is_refused(field: str, value: Any):
    with pytest.raises(ValidationError, match=field):
        TypeAdapter(SourceConfig).validate_python({"kind": "manifest", field: value})

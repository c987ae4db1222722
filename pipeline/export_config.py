"""Typed configurations of the jobs that use features: searches, masks, exports, descriptions."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from pipeline.config import PlaceUri, PositiveInt, SinkConfig, checked
from pipeline.errors import ConfigError

_STRICT = ConfigDict(extra="forbid")

Points = Annotated[
    tuple[tuple[float, float], ...],
    BeforeValidator(lambda given: [given] if given and not isinstance(given[0], list | tuple) else given),
]
SheetPath = Annotated[str, Field(pattern=r"\.png$")]


@dataclass(frozen=True, config=_STRICT)
class DescribeConfig:
    """Which feature set to describe, and the licence of its images."""

    sink: SinkConfig
    licence: Annotated[str, Field(min_length=1)] | None = None


@dataclass(frozen=True, config=_STRICT)
class ReportConfig:
    """Which feature set to report on, how much to show, at what price, and where the page goes."""

    sink: SinkConfig
    output: Annotated[str, Field(min_length=1)] | None = None
    images: Annotated[int, Field(ge=1, le=20_000, strict=True)] = 2000
    gallery: Annotated[int, Field(ge=0, le=200, strict=True)] = 24
    dollars_per_gb_month: Annotated[float, Field(ge=0)] = 0.023


@dataclass(frozen=True, config=_STRICT)
class PlaceConfig:
    """Where a feature set, an index or an export is."""

    uri: PlaceUri


@dataclass(frozen=True, config=_STRICT)
class CheckpointConfig:
    """The weights that a feature set was made with; None where they are random."""

    checkpoint: str | None = None


@dataclass(frozen=True, config=_STRICT)
class SegmentConfig:
    """Which image of which feature set to find a mask in, where, and where the pictures go."""

    features: PlaceConfig
    image_id: Annotated[str, Field(min_length=1)]
    output: Annotated[str, Field(min_length=1)]
    point: Points
    background: Points = ()
    model: CheckpointConfig = CheckpointConfig()


@dataclass(frozen=True, config=_STRICT)
class ExportFeastConfig:
    """Which feature set to export, and the local folder where the export is kept."""

    features: PlaceConfig
    export: PlaceConfig


@dataclass(frozen=True, config=_STRICT)
class BuildIndexConfig:
    """Which vectors of which feature set to index, and where to."""

    features: PlaceConfig
    index: PlaceConfig
    vectors: Literal["pooled", "grid"] = "pooled"


@dataclass(frozen=True, config=_STRICT)
class SearchConfig:
    """What to search for: an image of the set or a region of it, or another image; and how many to find."""

    index: PlaceConfig
    model: CheckpointConfig = CheckpointConfig()
    image_id: str | None = None
    image: str | None = None
    region: tuple[float, float, float, float] | None = None
    k: PositiveInt = 10
    sheet: SheetPath | None = None


@dataclass(frozen=True, config=_STRICT)
class FindDuplicatesConfig:
    """Which near-duplicates of which feature set to find, and where the table goes."""

    features: PlaceConfig
    output: Annotated[str, Field(min_length=1)]
    min_similarity: Annotated[float, Field(gt=0, le=1)] = 0.98
    sheet: SheetPath | None = None


def search_config(values: Mapping[str, Any]) -> SearchConfig:
    """The checked configuration of the search job from plain values.

    Raises:
        ConfigError: names every field that is unknown, missing or of a wrong kind, or what does not go together.
    """
    config = checked(SearchConfig, values)
    if (config.image_id is None) == (config.image is None):
        raise ConfigError("say what to search for: image_id= (an image of the set) or image= (a path), one of the two")
    if config.region is not None and config.image_id is None:
        raise ConfigError("region= needs image_id=: cells are known of the set's own images alone")
    return config

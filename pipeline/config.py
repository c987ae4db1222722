"""The typed form of a job's configuration, checked before any image, cluster or checkpoint is touched.

YAML becomes these dataclasses at the door; below it travel plain keyword arguments, never a config object.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
)
from pydantic.dataclasses import dataclass

from pipeline.errors import ConfigError
from pipeline.redaction import redacted
from pipeline.source_config import PLACES, SourceConfig

T = TypeVar("T")

_STRICT = ConfigDict(extra="forbid")


def _public(uri: str) -> str:
    if "://" in uri and redacted(uri) != uri:
        raise ValueError("it holds a secret, and records repeat it; let the store's own credentials open it")
    return uri


# Of a place that records and cards name.
PlaceUri = Annotated[str, Field(min_length=1), AfterValidator(_public)]
StorageDtype = Literal["float16", "float32", "int8"]
StorageDtypes = Annotated[
    tuple[StorageDtype, ...],
    BeforeValidator(lambda given: (given,) if isinstance(given, str) else given),
]
Features = Literal["fpn", "decoder", "embed", "pooled"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Level = Literal["counts", "sizes", "footers", "full"]
PositiveInt = Annotated[int, Field(gt=0, strict=True)]
PositiveFloat = Annotated[float, Field(gt=0)]
ColourLevel = Annotated[int, Field(ge=0, le=255, strict=True)]


@dataclass(frozen=True, config=_STRICT)
class SinkConfig:
    """Where the feature set goes."""

    uri: PlaceUri


@dataclass(frozen=True, config=_STRICT)
class ModelConfig:
    """Which encoder with which weights; `config` is a YAML path that replaces the named model."""

    name: str
    config: str | None = None
    checkpoint: str | None = None
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True, config=_STRICT)
class PreprocessConfig:
    """Side of the square input in pixels, None takes the model's own; and what shows where an image is transparent."""

    side_px: PositiveInt | None = None
    background: tuple[ColourLevel, ColourLevel, ColourLevel] = (255, 255, 255)


@dataclass(frozen=True, config=_STRICT)
class WholeConfig(PreprocessConfig):
    """An image is a row; of one with several frames or pages the first is, or each."""

    kind: Literal["whole"] = "whole"
    frames: Literal["first", "all"] = "first"


@dataclass(frozen=True, config=_STRICT)
class TilesConfig(PreprocessConfig):
    """A tile of an image is a row: a square of `tile_px` pixels that has `overlap_px` in common with its neighbours."""

    kind: Literal["tiles"] = "tiles"
    tile_px: Annotated[int, Field(ge=256, le=8192, strict=True)] = 1024
    overlap_px: Annotated[int, Field(ge=0, strict=True)] = 128


def _kind_of(values: Any) -> str:
    """What an image becomes where nothing is said about it."""
    return str(values.get("kind", "whole") if isinstance(values, Mapping) else values.kind)


@dataclass(frozen=True, config=_STRICT)
class FeaturesConfig:
    """Which maps are stored, and as what numbers: one dtype, or one a map from fine to coarse."""

    kind: Features
    storage_dtype: StorageDtypes = ("float16",)
    levels: tuple[Annotated[int, Field(ge=0, strict=True)], ...] | None = None
    layout: Literal["blob", "tensor"] = "blob"
    grid: Literal[4, 8] | None = None
    pooling: Literal["mean", "gem"] = "mean"


@dataclass(frozen=True, config=_STRICT)
class ExecutionConfig:
    """How the work is spread; None lets the machine decide."""

    precision: Precision = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    images_per_unit: PositiveInt | None = None
    images_per_batch: PositiveInt | None = None
    num_encoders: PositiveInt | None = None
    ray_address: str | None = None
    ray_logs: bool = False
    allow_unauthenticated_ray: bool = False
    decode_timeout_s: PositiveFloat = 60.0
    decode_memory_gib: PositiveFloat = 6.0
    decode_max_megapixels: PositiveFloat = 64.0
    decode_max_mib: PositiveFloat = 256.0
    patience_s: Annotated[float, Field(ge=0)] = 300.0
    units_at_once: Annotated[int, Field(ge=1)] = 50_000
    wait_for_nodes_s: Annotated[float, Field(ge=0)] = 900.0


@dataclass(frozen=True, config=_STRICT)
class RunConfig:
    """What a run takes up again, when it gives up (None: never), how it is audited, whether a page reports on it."""

    retry_quarantined: Literal["none", "transient", "all"] = "none"
    max_failed_share: Annotated[float, Field(ge=0, le=1)] | None = None
    audit_images: Annotated[int, Field(ge=0, le=1000)] = 4
    accept_audit: bool = False
    report: bool = True


@dataclass(frozen=True, config=_STRICT)
class JobConfig:
    """Everything the embed job was told."""

    source: SourceConfig
    sink: SinkConfig
    model: ModelConfig
    features: FeaturesConfig
    preprocess: Annotated[
        Annotated[WholeConfig, Tag("whole")] | Annotated[TilesConfig, Tag("tiles")], Discriminator(_kind_of)
    ]
    execution: ExecutionConfig
    run: RunConfig = RunConfig()


@dataclass(frozen=True, config=_STRICT)
class RepairConfig(JobConfig):
    """What the repair job was told: what the embed job was, and how far to look for what is broken."""

    level: Level = "full"


@dataclass(frozen=True, config=_STRICT)
class VerifyConfig:
    """Which feature set to look at, and how far: each level does what the ones before it do."""

    sink: SinkConfig
    level: Level = "sizes"


@dataclass(frozen=True, config=_STRICT)
class CleanConfig:
    """Which feature set to clean; what is younger is left alone whatever it is."""

    sink: SinkConfig
    older_than_hours: Annotated[float, Field(ge=1)] = 72.0


@dataclass(frozen=True, config=_STRICT)
class AbandonConfig:
    """Which run of which feature set to give up."""

    sink: SinkConfig
    run: PositiveInt


@dataclass(frozen=True, config=_STRICT)
class FidelityConfig:
    """Which images to measure ways to store features on, with which encoder; they are all held in memory."""

    source: SourceConfig
    model: ModelConfig
    preprocess: PreprocessConfig = PreprocessConfig()
    precision: Precision = "auto"
    images: Annotated[int, Field(ge=1, le=32, strict=True)] = 8


J = TypeVar("J", bound=JobConfig | FidelityConfig)


def job_config(values: Mapping[str, Any]) -> JobConfig:
    """The checked configuration of the embed job from plain values.

    Raises:
        ConfigError: as `checked_job`.
    """
    return checked_job(values, JobConfig)


def checked_job(values: Mapping[str, Any], kind: type[J]) -> J:
    """The checked configuration of a job that takes images and a model from plain values.

    Raises:
        ConfigError: names every field that is unknown, missing or of a wrong kind, with its value.
    """
    return _with_places(checked(kind, values))


def checked(kind: type[T], values: Mapping[str, Any]) -> T:
    """The configuration of that kind from plain values.

    Raises:
        ConfigError: names every field that is unknown, missing or of a wrong kind, with its value.
    """
    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        raise ConfigError("; ".join(_complaint(item) for item in error.errors())) from None


def _with_places(config: J) -> J:
    if config.source.kind == "sample" and config.source.uri:
        raise ConfigError(f"source.uri={config.source.uri!r} has no meaning with source=sample; use source=directory")
    if config.source.kind in PLACES and not config.source.uri:
        raise ConfigError(f"source.uri is not set: {PLACES[config.source.kind]}, or use source=sample")
    try:
        _public(config.source.uri or "")
    except ValueError as error:
        raise ConfigError(f"source.uri={config.source.uri!r}: {error}") from None
    tiles = config.preprocess
    if isinstance(tiles, TilesConfig) and tiles.overlap_px > tiles.tile_px // 2:
        raise ConfigError(f"preprocess.overlap_px={tiles.overlap_px} is more than half of tile_px={tiles.tile_px}")
    is_parted = isinstance(tiles, TilesConfig) or (isinstance(tiles, WholeConfig) and tiles.frames == "all")
    if is_parted and config.source.kind in ("parquet", "video"):
        raise ConfigError(
            f"source={config.source.kind} gives parts of files, which are not parted any further: leave out "
            "preprocess=tiles and preprocess.frames=all"
        )
    if not config.model.checkpoint:
        raise ConfigError(
            "model.checkpoint is not set: give the path or URI of a SAM 2 .pt or .safetensors file, "
            "'published' to fetch the published one, or 'random' for an untrained encoder"
        )
    return config


def _complaint(item: Any) -> str:
    place = [str(part) for part in item["loc"]]
    if len(place) > 2 and place[0] in ("source", "preprocess"):  # pydantic puts the kind in between
        del place[1]
    field = ".".join(place)
    if item["type"] == "missing":
        return f"{field} is missing"
    if item["type"] == "union_tag_invalid":
        return f"{field}.kind={item['ctx']['tag']!r}: input should be one of {item['ctx']['expected_tags']}"
    said = item["msg"].removeprefix("Value error, ")
    return f"{field}={item['input']!r}: {said[0].lower()}{said[1:]}"

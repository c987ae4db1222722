"""Typed configuration of the plan job: the embed job's, and what is known beforehand of speeds and prices."""

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from pipeline.config import JobConfig, PositiveFloat

_STRICT = ConfigDict(extra="forbid")

Price = Annotated[float, Field(ge=0)]


@dataclass(frozen=True, config=_STRICT)
class PlanSettings:
    """Seconds that an image takes an encoder and the link to the sink, where they are known; how many to measure."""

    measure_images: Annotated[int, Field(ge=8, le=10_000, strict=True)] | None = None
    seconds_per_image: PositiveFloat | None = None
    link_gbit_s: PositiveFloat | None = None


@dataclass(frozen=True, config=_STRICT)
class PricesConfig:
    """Dollars: of a GB and month, of 1,000 requests that write or read, of an hour of a GPU or a CPU core."""

    storage_gb_month: Price
    put_1000: Price
    get_1000: Price
    gpu_hour: Price
    cpu_hour: Price


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class PlanConfig(JobConfig):
    """What the plan job was told: what the embed job would be, and what it is to reckon with."""

    plan: PlanSettings
    prices: PricesConfig

"""What an audit found: how far stored features are from those that the modules give in float32, image by image."""

import math
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline.featureset.maps import MapSpec

# Relative L2 error of a level that an audit lets pass, by the precision encoders compute in. In bf16 the published
# code's own autocast is off by up to 0.011 with random weights; storing float16 adds less than 0.0005 to anything.
BOUNDS = {"fp32": 0.001, "bf16": 0.03, "fp16": 0.005}
# And of a column of scaled integers, whose steps are a 127th of a channel's greatest number.
INT8_BOUND = 0.1


class AuditRow(BaseModel):
    """Relative L2 error of one image's stored columns against the same image encoded alone, in float32."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_id: str
    errors: dict[str, float]


class AuditSummary(BaseModel):
    """The audits of a run: how many images, the greatest error of each column, and what is let pass.

    Attributes:
        bounds: of columns that have a bound of their own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_images: int
    errors: dict[str, float]
    bound: float
    bounds: dict[str, float] = {}

    @property
    def passed(self) -> bool:
        """Whether every error is within the bound; one that is not a number is not."""
        return all(error <= self.bounds.get(column, self.bound) for column, error in self.errors.items())

    def text(self) -> str:
        """One line for people."""
        errors = ", ".join(f"{column} {error:.2g}" for column, error in self.errors.items())
        images = "1 image" if self.num_images == 1 else f"{self.num_images} images"
        bounds = "".join(f", {column} {bound:g}" for column, bound in self.bounds.items())
        return f"{images} again in fp32, relative error at most {errors} (bound {self.bound:g}{bounds})"


def summarise(
    rows: Iterable[AuditRow], settings: dict[str, Any], maps: tuple[MapSpec, ...] = ()
) -> AuditSummary | None:
    """The summary of some audits of a feature set with these settings and maps; None for none."""
    found = list(rows)
    if not found:
        return None
    columns = {column: None for row in found for column in row.errors}
    worst = {column: max((row.errors[column] for row in found), key=_badness) for column in columns}
    bounds = {spec.column: INT8_BOUND for spec in maps if spec.is_scaled}
    return AuditSummary(num_images=len(found), errors=worst, bound=BOUNDS[settings["precision"]], bounds=bounds)


def _badness(error: float) -> float:
    return math.inf if math.isnan(error) else error

"""One line of JSON for every unit that is done, for what collects logs; a terminal has a live line instead."""

import json
import sys
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pipeline.redaction import shown

# No secret and no control character, also where it is read as text.
Shown = Annotated[str, AfterValidator(shown)]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class UnitEvent(BaseModel):
    """A unit of a run, done; the lines of a run add up to its summary.

    Attributes:
        ts: when the driver heard of it, in UTC.
        command: names the command that tells; of two that share a run, each tells of every unit it worked through.
        is_own: whether that command has committed it; else another had, and nothing was done here.
        quarantined: images without features, by error type.
        written_bytes: of the shard.
        seconds: by step, added up over workers.
        retries: `storage`: requests tried again; `decoder`: processes replaced.
        encoder: which one.
        host: the machine it is on.
        shard: the file of features below the feature set; None if there are none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ts: str = Field(default_factory=_now)
    event: Literal["unit"] = "unit"
    feature_set: Shown
    run: int
    command: str
    unit: int
    is_own: bool
    images: int
    embedded: int
    quarantined: dict[Shown, int]
    fetched_bytes: int
    written_bytes: int
    seconds: dict[str, float]
    retries: dict[str, int]
    encoder: str
    host: Shown
    shard: str | None

    @property
    def line(self) -> str:
        """The event as one line of JSON in plain ASCII."""
        return json.dumps(self.model_dump())


def tell(event: UnitEvent) -> None:
    """Writes the event to stderr, unless that is a terminal."""
    if not sys.stderr.isatty():
        sys.stderr.write(event.line + "\n")
        sys.stderr.flush()

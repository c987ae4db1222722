"""The small JSON records of a feature set; each is written once, create-if-absent, and never changed.

A record of a format this code does not know is refused rather than guessed at, and so is one whose digest is wrong.
"""

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from pipeline.errors import FeatureSetError, ImageError
from pipeline.featureset import paths
from pipeline.featureset.audit import AuditRow, AuditSummary
from pipeline.featureset.maps import MapSpec


class Record(BaseModel):
    """A frozen record that knows its JSON bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1

    def to_bytes(self) -> bytes:
        """The record as JSON, one field a line, with a digest of all the others."""
        fields = self.model_dump(mode="json")
        return (json.dumps({**fields, "digest": _digest(fields)}, indent=1) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes, origin: str) -> Self:
        """The record in `data`.

        Raises:
            FeatureSetError: damaged, or of a newer format; names `origin`.
        """
        try:
            fields = json.loads(data)
            if isinstance(fields, dict) and fields.pop("digest", None) not in (None, _digest(fields)):
                raise FeatureSetError(f"{origin} is damaged: its digest is not that of its fields")
            return cls.model_validate_json(json.dumps(fields))
        except (ValueError, ValidationError) as error:
            raise FeatureSetError(
                f"{origin} is not a record this version can read: {_said(error)}; "
                "it is damaged or was written by a newer version"
            ) from None


def _plain(name: str) -> str:
    if paths.PLAIN.fullmatch(name) is None:
        raise ValueError(f"names {name!r}, which is no file below its feature set")
    return name


class TableFile(BaseModel):
    """A Parquet file below the root, with what it takes to check it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, AfterValidator(_plain)]
    num_rows: int
    size_bytes: int
    sha256: str


class FeatureSetRecord(Record):
    """What the numbers of a feature set mean: the fingerprint, its fields, and the maps of a row.

    Attributes:
        no_mem_embed: SAM 2's vector of that name, (C,), where the maps are the mask decoder's; no stored number has it
            added. The image predictor wants it added to the coarsest level, the video predictor does not.
    """

    fingerprint: str
    settings: dict[str, Any]
    maps: tuple[MapSpec, ...]
    position_encodings: TableFile | None
    no_mem_embed: tuple[float, ...] | None = None


class RunRecord(Record):
    """The claim of a run number: what is embedded, in which plan.

    Attributes:
        images_per_unit: of every unit but the last.
        listing: digest of what the source listed; another command that lists the same has nothing to do.
        removed: ids that earlier runs hold and the source no longer does; None if there are none.
    """

    run: int
    fingerprint: str
    source: dict[str, Any]
    plan: TableFile
    num_images: int
    num_units: int
    images_per_unit: int
    listing: str | None = None
    removed: TableFile | None = None

    def num_images_of(self, unit: int) -> int:
        """How many images a unit has."""
        return min(self.images_per_unit, self.num_images - unit * self.images_per_unit)


class QuarantineRow(BaseModel):
    """Why one image has no features."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_id: str
    uri: str
    stage: Literal["fetch", "decode", "encode"]
    error_class: Literal["transient", "permanent"]
    error_type: str
    message: str

    @classmethod
    def of(cls, image_id: str, uri: str, error: ImageError) -> Self:
        """The row for an image and what was wrong with it."""
        about = {"stage": error.stage, "error_class": error.error_class, "error_type": error.error_type}
        return cls.model_validate({"image_id": image_id, "uri": uri, "message": str(error), **about})


class IndexRows(BaseModel):
    """What the index says of a shard's images, in the order of its rows, column by column.

    Attributes:
        embedding: the pooled vectors, (N, D) float32, little-endian, in base64.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_id: tuple[str, ...] = ()
    uri: tuple[str, ...] = ()
    original_height: tuple[int, ...] = ()
    original_width: tuple[int, ...] = ()
    embedding: str = ""


class UnitWork(BaseModel):
    """How the work on a unit went; nothing that is read back depends on it but reports of where time went.

    Attributes:
        command: names the command that the unit was embedded by.
        command_began: when that command had encoders to wait for, seconds since 1970.
        encoder: names the encoder that embedded it.
        node: where that encoder was, by the node's id in Ray.
        decoded_on: where its images were fetched and decoded.
        began: when that encoder began to be, seconds since 1970.
        until: when this was written, seconds since 1970.
        account: the encoder's seconds by cause since it began, see `observability.accounting`.
        seconds: the unit's own, by step.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: str
    command_began: float
    encoder: str
    began: float
    until: float
    account: dict[str, float]
    seconds: dict[str, float]
    node: str = ""
    decoded_on: str = ""


class CommitRecord(Record):
    """Makes one unit count: its shard (None when every image was bad), and its quarantined images.

    Attributes:
        token: this writer's alone; tells whose commit stands when an answer was lost.
        audit: images of the shard that were embedded again by the reference way, and how far off they are.
        rows: the shard's images, so that sealing a run reads commits and no shards.
        work: how the work on it went.
    """

    run: int
    unit: int
    token: str
    fingerprint: str
    shard: TableFile | None
    rows: IndexRows = IndexRows()
    audit: tuple[AuditRow, ...] = ()
    quarantine: tuple[QuarantineRow, ...]
    work: UnitWork | None = None

    @property
    def num_images(self) -> int:
        """Images the unit accounts for."""
        return (self.shard.num_rows if self.shard else 0) + len(self.quarantine)


class Abandonment(Record):
    """Ends a run that will not be finished; it takes the place of the manifest, so that only one of the two can be."""

    kind: Literal["abandoned"] = "abandoned"
    run: int
    token: str
    abandoned_at: str


class Manifest(Record):
    """Seals a run: every planned image is in `index` or in `quarantine`."""

    kind: Literal["sealed"] = "sealed"
    run: int
    fingerprint: str
    num_planned: int
    num_embedded: int
    num_quarantined: int
    size_bytes: int
    sealed_at: str
    index: TableFile
    shards: TableFile
    quarantine: TableFile
    audit: AuditSummary | None = None


def _digest(fields: dict[str, Any]) -> str:
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def _said(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    return f"{field} {first['msg']}"

"""The small JSON records of a feature set; each is written once, create-if-absent, and never changed.

A record of a format this code does not know is refused rather than guessed at.
"""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import FeatureSetError, ImageError
from pipeline.featureset.schema import MapSpec


class Record(BaseModel):
    """A frozen record that knows its JSON bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1

    def to_bytes(self) -> bytes:
        """The record as JSON, one field a line."""
        return (self.model_dump_json(indent=1) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes, origin: str) -> Self:
        """The record in `data`.

        Raises:
            FeatureSetError: damaged, or of a newer format; names `origin`.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise FeatureSetError(
                f"{origin} is not a record this version can read: {field} {first['msg']}; "
                "it is damaged or was written by a newer version"
            ) from None


class TableFile(BaseModel):
    """A Parquet file below the root, with what it takes to check it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    num_rows: int
    size_bytes: int
    sha256: str


class FeatureSetRecord(Record):
    """What the numbers of a feature set mean: the fingerprint, its fields, and the maps of a row."""

    fingerprint: str
    settings: dict[str, Any]
    maps: tuple[MapSpec, ...]
    position_encodings: TableFile | None


class RunRecord(Record):
    """The claim of a run number: what is embedded, in which plan."""

    run: int
    fingerprint: str
    source: dict[str, Any]
    plan: TableFile
    num_images: int
    num_units: int


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


class CommitRecord(Record):
    """Makes one unit count: its shard (None when every image was bad) and its quarantined images."""

    run: int
    unit: int
    token: str
    fingerprint: str
    shard: TableFile | None
    quarantine: tuple[QuarantineRow, ...]

    @property
    def num_images(self) -> int:
        """Images the unit accounts for."""
        return (self.shard.num_rows if self.shard else 0) + len(self.quarantine)


class Manifest(Record):
    """Seals a run: every planned image is in `index` or in `quarantine`."""

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

"""What travels between steps: one block is one row is one unit, so that Ray can neither split nor merge units.

Pixels cross Ray's object store; features never do. An encoder answers with a receipt of a few hundred bytes.
"""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
import pyarrow as pa

from pipeline.featureset.records import CommitRecord, QuarantineRow
from pipeline.featureset.schema import only_value
from pipeline.observability.accounting import Made


@dataclass(frozen=True)
class DecodedImage:
    """An image whose pixels are ready; height and width are the original's, in pixels."""

    image_id: str
    uri: str
    height: int
    width: int


@dataclass(frozen=True)
class DecodedUnit:
    """A unit's images that could be decoded, their pixels (N, 3, side, side) float32, and those that could not.

    `is_committed` says that there is nothing left to do: somebody else has committed the unit. `made` says when it was
    made ready.
    """

    unit: int
    images: list[DecodedImage]
    pixels_NCHW: np.ndarray
    quarantine: list[QuarantineRow]
    seconds: dict[str, float] = field(default_factory=dict)
    is_committed: bool = False
    made: Made | None = None

    def to_block(self) -> pa.Table:
        """The unit as a table of one row; the pixels are not copied."""
        about = {
            "unit": self.unit,
            "images": [asdict(image) for image in self.images],
            "side_px": self.pixels_NCHW.shape[-1],
            "quarantine": [row.model_dump() for row in self.quarantine],
            "seconds": self.seconds,
            "is_committed": self.is_committed,
            "made": None if self.made is None else asdict(self.made),
        }
        pixels = np.ascontiguousarray(self.pixels_NCHW, dtype=np.float32)
        offsets = pa.py_buffer(np.array([0, pixels.nbytes], dtype=np.int64))
        blob = pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(pixels)])
        return pa.table({"about": pa.array([json.dumps(about)]), "pixels": blob})

    @classmethod
    def from_block(cls, block: pa.Table) -> Self:
        """The unit in a table of one row; pixels are a read-only view of the block."""
        about = json.loads(block["about"][0].as_py())
        values = np.frombuffer(only_value(block["pixels"]), dtype=np.float32)
        return cls(
            unit=about["unit"],
            images=[DecodedImage(**image) for image in about["images"]],
            pixels_NCHW=values.reshape(-1, 3, about["side_px"], about["side_px"]),
            quarantine=[QuarantineRow(**row) for row in about["quarantine"]],
            seconds=about["seconds"],
            is_committed=about["is_committed"],
            made=None if about["made"] is None else Made(**about["made"]),
        )


@dataclass(frozen=True)
class Receipt:
    """What became of a unit: counts, bytes of its shard, why images failed, and seconds by step.

    Attributes:
        is_committed: False when the run was told to stop before the unit began.
        failures: error types of the quarantined images with their counts.
        example: one of those images and its message.
        encoder: which one.
        account: where its time went so far, see `observability.accounting`.
    """

    unit: int
    is_committed: bool
    num_embedded: int = 0
    num_quarantined: int = 0
    size_bytes: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    example: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    encoder: str = ""
    account: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, commit: CommitRecord, seconds: dict[str, float]) -> Self:
        """The receipt of a committed unit."""
        first = commit.quarantine[0] if commit.quarantine else None
        return cls(
            unit=commit.unit,
            is_committed=True,
            num_embedded=commit.shard.num_rows if commit.shard else 0,
            num_quarantined=len(commit.quarantine),
            size_bytes=commit.shard.size_bytes if commit.shard else 0,
            failures=dict(Counter(row.error_type for row in commit.quarantine)),
            example=f"{first.image_id}: {first.message}" if first else "",
            seconds=seconds,
        )

    def to_block(self) -> pa.Table:
        """The receipt as a table of one row."""
        return pa.table({"receipt": pa.array([json.dumps(asdict(self))])})

    @classmethod
    def from_row(cls, row: str) -> Self:
        """The receipt in the one value of a row."""
        return cls(**json.loads(row))

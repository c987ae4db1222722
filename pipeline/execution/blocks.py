"""What travels between steps: one block is one row is one unit, so that Ray can neither split nor merge units.

Pixels cross Ray's object store; features never do. An encoder answers with a receipt of a few hundred bytes.
"""

import json
from collections import Counter
from collections.abc import Iterable
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
    made ready, `fetched_bytes` how much was fetched for that, `retries` what was tried again.
    """

    unit: int
    images: list[DecodedImage]
    pixels_NCHW: np.ndarray
    quarantine: list[QuarantineRow]
    seconds: dict[str, float] = field(default_factory=dict)
    is_committed: bool = False
    made: Made | None = None
    fetched_bytes: int = 0
    retries: dict[str, int] = field(default_factory=dict)

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
            "fetched_bytes": self.fetched_bytes,
            "retries": self.retries,
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
            fetched_bytes=about["fetched_bytes"],
            retries=about["retries"],
        )


@dataclass(frozen=True)
class Receipt:
    """What became of a unit: counts, bytes of its shard, why images failed, and seconds by step.

    Attributes:
        is_committed: False when the run was told to stop before the unit began.
        is_own: whether this command has committed it, and not another one.
        failures: quarantined images by stage, and there by error type.
        example: one of those images and its message.
        shard: name of the file of features; None if there are none.
        fetched_bytes: of its images.
        retries: what was tried again for it: `storage` requests, `decoder` processes.
        encoder: which one.
        host: the machine it is on.
        account: where its time went so far, see `observability.accounting`.
    """

    unit: int
    is_committed: bool
    is_own: bool = True
    num_embedded: int = 0
    num_quarantined: int = 0
    size_bytes: int = 0
    failures: dict[str, dict[str, int]] = field(default_factory=dict)
    example: str = ""
    shard: str | None = None
    fetched_bytes: int = 0
    retries: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    encoder: str = ""
    host: str = ""
    account: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, commit: CommitRecord, seconds: dict[str, float], *, command: str = "") -> Self:
        """The receipt of a committed unit, for the command of that name."""
        first = commit.quarantine[0] if commit.quarantine else None
        return cls(
            unit=commit.unit,
            is_committed=True,
            is_own=commit.work is not None and commit.work.command == command,
            num_embedded=commit.shard.num_rows if commit.shard else 0,
            num_quarantined=len(commit.quarantine),
            size_bytes=commit.shard.size_bytes if commit.shard else 0,
            failures=_by_stage(commit.quarantine),
            example=f"{first.image_id}: {first.message}" if first else "",
            shard=commit.shard.name if commit.shard else None,
            seconds=seconds,
        )

    @property
    def reasons(self) -> dict[str, int]:
        """Quarantined images by error type."""
        return dict(sum((Counter(reasons) for reasons in self.failures.values()), Counter[str]()))

    @property
    def num_images(self) -> int:
        """Images that are done."""
        return self.num_embedded + self.num_quarantined

    @property
    def event(self) -> dict[str, Any]:
        """What a log says of the unit, see `observability.events`."""
        return {
            "unit": self.unit,
            "is_own": self.is_own,
            "images": self.num_images,
            "embedded": self.num_embedded,
            "quarantined": self.reasons,
            "fetched_bytes": self.fetched_bytes,
            "written_bytes": self.size_bytes,
            "seconds": {step: round(seconds, 4) for step, seconds in self.seconds.items()},
            "retries": self.retries,
            "encoder": self.encoder,
            "host": self.host,
            "shard": self.shard,
        }

    def to_block(self) -> pa.Table:
        """The receipt as a table of one row."""
        return pa.table({"receipt": pa.array([json.dumps(asdict(self))])})

    @classmethod
    def from_row(cls, row: str) -> Self:
        """The receipt in the one value of a row."""
        return cls(**json.loads(row))


def _by_stage(quarantine: Iterable[QuarantineRow]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    for row in quarantine:
        counts.setdefault(row.stage, Counter())[row.error_type] += 1
    return {stage: dict(found) for stage, found in counts.items()}

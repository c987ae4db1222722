"""Small files that stand for images, and the fake encoder: features as a pure function of a file's bytes alone."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.featureset.maps import MapSpec

MAPS = (MapSpec("fpn_0", 0, (2, 4, 4), "float16", 4), MapSpec("fpn_1", 1, (4, 2, 2), "float16", 8))
SETTINGS = {"weights": {"kind": "random", "seed": 0}, "features": "fpn", "preprocessing": {"side_px": 16}}
# What a file begins with whose image is bad: it belongs into quarantine, and nothing else does.
POISON = b"poison"
_NUM_POOLED = 8
_SPLITS = np.cumsum([spec.size_bytes // 2 for spec in MAPS] + [_NUM_POOLED]).tolist()


@dataclass(frozen=True)
class Encoded:
    """The features of a few images: maps by column (N, H, W, C), pooled (N, 8) float32, original sizes (h, w)."""

    maps: dict[str, np.ndarray]
    pooled: np.ndarray
    sizes: list[tuple[int, int]]


def encode(files: Sequence[bytes]) -> Encoded:
    """The features; every number is exact in the dtype it is stored in, so copies compare bit for bit."""
    digests = [hashlib.shake_256(data).digest(_SPLITS[-1] + 2) for data in files]
    numbers = np.frombuffer(b"".join(digests), np.uint8).reshape(len(files), -1)
    *maps, pooled, sizes = np.split(numbers, _SPLITS, axis=1)
    return Encoded(
        maps={spec.column: _as_map(values, spec) for spec, values in zip(MAPS, maps, strict=True)},
        pooled=pooled.astype(np.float32) / 256,
        sizes=[(10 + int(height), 10 + int(width)) for height, width in sizes],
    )


def positions() -> dict[str, np.ndarray]:
    """The position encodings of a feature set, (H, W, C) float32."""
    return {column: values[0].astype(np.float32) for column, values in encode([b"positions"]).maps.items()}


def is_poison(data: bytes) -> bool:
    """Whether the image is one that belongs into quarantine."""
    return data.startswith(POISON)


def name_of(number: int) -> str:
    """The id of an image: below one of a few folders, with characters that stores spell in their own ways."""
    return f"{'a b/é+%2F' if number % 3 else 'plain'}/{number:05d}.jpg"


def fill(folder: Path, count: int) -> None:
    """Writes that many images, every eleventh of them bad."""
    for parent in {Path(name_of(number)).parent for number in range(min(count, 3))}:
        (folder / parent).mkdir(parents=True)
    for number in range(count):
        (folder / name_of(number)).write_bytes((POISON if number % 11 == 5 else b"") + f"image {number}".encode())


def contents(folder: Path) -> dict[str, bytes]:
    """Every image below a folder by its id, found without the pipeline's help."""
    found = {}
    for where, _, names in os.walk(folder):
        for name in names:
            path = Path(where, name)
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def _as_map(values: np.ndarray, spec: MapSpec) -> np.ndarray:
    channels, height, width = spec.shape_chw
    return (values.astype(np.float16) / 8 - 16).reshape(-1, height, width, channels)

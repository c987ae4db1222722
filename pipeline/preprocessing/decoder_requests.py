"""What the decoder process does with an image: finds the pixels that a part names, or looks what parts there are."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.featureset.part import Part
from pipeline.preprocessing.decode import decode
from pipeline.preprocessing.served_file import ServedFile
from pipeline.preprocessing.transform import normalise
from pipeline.preprocessing.video import frame_times
from pipeline.preprocessing.video_frames import frame_of

Source = bytes | ServedFile


@dataclass(frozen=True)
class Prepared:
    """An image's pixels (3, side, side) float32, its own (height, width) in pixels, and seconds by step."""

    pixels_CHW: np.ndarray
    size: tuple[int, int]
    seconds: dict[str, float]


def prepare(source: Source, part: Part, side_px: int) -> Prepared:
    """Decodes and resizes the part of an image.

    Raises:
        ImageError: it cannot be decoded.
    """
    began = time.perf_counter()
    pixels_HWC = pixels_of(source, part)
    decoded = time.perf_counter()
    pixels_CHW = normalise(pixels_HWC, side_px).numpy()
    seconds = {"decode": decoded - began, "resize": time.perf_counter() - decoded}
    height, width = pixels_HWC.shape[:2]
    return Prepared(pixels_CHW, (height, width), seconds)


def pixels_of(source: Source, part: Part) -> np.ndarray:
    """The (height, width, 3) uint8 pixels of the part.

    Raises:
        ImageError: they cannot be decoded.
    """
    if part.video_frame is not None and isinstance(source, ServedFile):
        return frame_of(source, part)
    return decode(bytes_of(source))


def bytes_of(source: Source) -> bytes:
    """All bytes of an image."""
    if isinstance(source, bytes):
        return source
    source.seek(0)
    return source.read()


def probe(source: Source, kind: str) -> Any:
    """What parts an image has, in plain values.

    Raises:
        ImageError: it cannot be told.
    """
    if kind == "video":
        return frame_times(source)
    raise NotImplementedError(f"{kind} of {type(source).__name__}")

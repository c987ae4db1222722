"""What the decoder process does with an image: finds the pixels that a part names, or looks what parts there are."""

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.featureset.part import Part
from pipeline.preprocessing.decode import decode
from pipeline.preprocessing.frames import num_frames
from pipeline.preprocessing.parquet_rows import PARQUET, answer, image_bytes
from pipeline.preprocessing.pixel_rules import USUAL, PixelRules
from pipeline.preprocessing.served_file import ServedFile, served_bytes
from pipeline.preprocessing.transform import normalise
from pipeline.preprocessing.video import frame_times
from pipeline.preprocessing.video_frames import frame_of

if TYPE_CHECKING:
    from pipeline.preprocessing.large_image import LargeImage

Source = bytes | ServedFile


@dataclass(frozen=True)
class Prepared:
    """An image's pixels (3, side, side) float32, its own (height, width) in pixels, and seconds by step."""

    pixels_CHW: np.ndarray
    size: tuple[int, int]
    seconds: dict[str, float]


def prepare(source: Source, part: Part, *, side_px: int, rules: PixelRules = USUAL) -> Prepared:
    """Decodes and resizes the part of an image.

    Raises:
        ImageError: it cannot be decoded.
    """
    began = time.perf_counter()
    pixels_HWC = pixels_of(source, part, rules)
    decoded = time.perf_counter()
    pixels_CHW = normalise(pixels_HWC, side_px).numpy()
    seconds = {"decode": decoded - began, "resize": time.perf_counter() - decoded}
    height, width = pixels_HWC.shape[:2]
    return Prepared(pixels_CHW, (height, width), seconds)


def pixels_of(source: Source, part: Part, rules: PixelRules) -> np.ndarray:
    """The (height, width, 3) uint8 pixels of the part.

    Raises:
        ImageError: they cannot be decoded.
    """
    if part.video_frame is not None and isinstance(source, ServedFile):
        return frame_of(source, part)
    if part.row is not None and isinstance(source, ServedFile):
        source = image_bytes(source, part)
    if part.box is not None:
        return _large_image(source, rules).window(part.box)
    return decode(bytes_of(source), frame=part.page or 0, rules=rules)


def bytes_of(source: Source) -> bytes:
    """All bytes of an image."""
    if isinstance(source, bytes):
        return source
    source.seek(0)
    return source.read()


def probe(source: Source, kind: str, rules: PixelRules) -> Any:
    """What parts an image has, in plain values.

    Args:
        source: the image.
        kind: `size` (a mapping of height and width in pixels of the upright image, and orientation, by EXIF, of the
            stored one; read from the header), `frames` (how many there are), `video` (see `video.frame_times`), or
            `parquet` and a question in JSON (see `parquet_rows.answer`).
        rules: what the run chose of how pixels are made.

    Raises:
        ImageError: it cannot be told.
    """
    if kind == "video":
        return frame_times(source)
    if kind.startswith(PARQUET) and isinstance(source, ServedFile):
        return answer(source, json.loads(kind.removeprefix(PARQUET)))
    if kind == "frames":
        return _num_frames(source)
    image = _large_image(source, rules)
    image.try_out()
    return {"height": image.size[0], "width": image.size[1], "orientation": image.orientation}


def _large_image(source: Source, rules: PixelRules) -> "LargeImage":
    """The image, opened once for all its boxes that are asked for one after the other."""
    from pipeline.preprocessing.large_image import LargeImage  # libvips comes with an extra

    if isinstance(source, bytes):
        return LargeImage(served_bytes(source), rules)
    if not isinstance(source.opened, LargeImage):
        source.opened = LargeImage(source, rules)
    return source.opened


def _num_frames(source: Source) -> int:
    """Of a JPEG, as most images are, only the first bytes are read."""
    head = source[:3] if isinstance(source, bytes) else _head(source)
    return 1 if head == b"\xff\xd8\xff" else num_frames(bytes_of(source))


def _head(source: ServedFile) -> bytes:
    source.seek(0)
    return source.read(3)

"""Frames of animations and pages of documents: how many there are, and each as a viewer would show it.

Counting walks the file's own structure and decodes nothing: Pillow would walk on for as long as a file pretends.
"""

import re
import struct
from collections.abc import Iterator
from itertools import islice

from PIL import Image

from pipeline.preprocessing.formats import SINGLE, open_image, require_size
from pipeline.preprocessing.pixel_rules import PixelRules
from pipeline.preprocessing.refusal import refused, refusing

MAX_FRAMES = 10_000
_GIF_BLOCK = re.compile(b"[!,;]")


def num_frames(data: bytes) -> int:
    """How many frames or pages an encoded image has, 1 for most; that they are whole is found when they are decoded.

    Raises:
        ImageError: stage `decode`; no image, or more than `MAX_FRAMES` frames (`TooManyFrames`).
    """
    with refusing(), open_image(data) as image:
        found = _count(image, data)
    if found > MAX_FRAMES:
        raise refused("TooManyFrames", f"it has more than {MAX_FRAMES} frames: leave it out, or split it up")
    return found


def show_frame(image: Image.Image, frame: int, rules: PixelRules) -> None:
    """Makes frame number `frame` the present one; an animation's is what a viewer has on the screen by then.

    Raises:
        ImageError: stage `decode`; `NoSuchFrame`, or a size that is refused.
    """
    require_size(image, rules.max_pixels)
    if frame == 0:
        return
    if not 0 < frame < MAX_FRAMES or image.format in SINGLE:
        raise _no_such_frame(frame)
    # A GIF's canvas may grow on the way; pages of a TIFF have nothing to do with each other.
    for each in range(1, frame + 1) if image.format == "GIF" else [frame]:
        try:
            image.seek(each)
        except EOFError:
            raise _no_such_frame(frame) from None
        require_size(image, rules.max_pixels)


def _no_such_frame(frame: int) -> Exception:
    return refused("NoSuchFrame", f"it has no frame number {frame}, counted from 0")


def _count(image: Image.Image, data: bytes) -> int:
    """The frames, or one more than are allowed if there are more."""
    if image.format in SINGLE:
        return 1
    if image.format == "GIF":
        return _capped(_gif_frames(data))
    if image.format == "TIFF":
        return _capped(_tiff_pages(data))
    claimed = int(getattr(image, "n_frames", 1))
    # An animated PNG claims what it likes; each frame that there is has a chunk, beside the still picture.
    return min(claimed, data.count(b"fcTL") + 1) if image.format == "PNG" else claimed


def _capped(frames: Iterator[None]) -> int:
    return max(1, sum(1 for _ in islice(frames, MAX_FRAMES + 1)))


def _gif_frames(data: bytes) -> Iterator[None]:
    place = 13 + _gif_colours(data[10])
    while (block := _GIF_BLOCK.search(data, place)) and block[0] != b";":
        place = block.start()
        if block[0] == b"!":
            place = _after_parts(data, place + 2)
        elif place + 10 < len(data):
            yield
            place = _after_parts(data, place + 11 + _gif_colours(data[place + 9]))
        else:
            return


def _gif_colours(flags: int) -> int:
    """Bytes of the table of colours that the flags announce."""
    return 3 << (flags & 7) + 1 if flags & 128 else 0


def _after_parts(data: bytes, place: int) -> int:
    """Where a chain of parts ends, each of which says its length first; the last is empty."""
    while place < len(data) and data[place]:
        place += 1 + data[place]
    return place + 1


def _tiff_pages(data: bytes) -> Iterator[None]:
    """Each directory of the chain, once: it may lead back into itself."""
    order, is_big = "<" if data[:2] == b"II" else ">", 43 in data[2:4]
    count, offset, entry_bytes = ("Q", "Q", 20) if is_big else ("H", "I", 12)
    place, seen = 8 if is_big else 4, set[int]()
    while True:
        try:
            (start,) = struct.unpack_from(order + offset, data, place)
            if start == 0 or start in seen:
                return
            (num_entries,) = struct.unpack_from(order + count, data, start)
        except (struct.error, OverflowError):
            return
        seen.add(start)
        yield
        place = start + struct.calcsize(order + count) + num_entries * entry_bytes

"""TIFFs of any size that take no time to make: all their tiles, or strips, are the same bytes."""

import struct

import numpy as np

TILE_PX = 256
STRIP_ROWS = 16


def pattern(height: int, width: int) -> np.ndarray:
    """Pixels that differ from place to place."""
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), np.uint8)


def tiled_tiff(side_px: int, *, tile: bytes | None = None, compression: int = 1) -> bytes:
    """A square TIFF whose tiles are all `tile`, or `pattern(TILE_PX, TILE_PX)`."""
    data = pattern(TILE_PX, TILE_PX).tobytes() if tile is None else tile
    count = (-(-side_px // TILE_PX)) ** 2
    return _tiff(side_px, data, compression, {322: [TILE_PX], 323: [TILE_PX], 324: count, 325: count})


def strip_tiff(side_px: int) -> bytes:
    """A square TIFF whose strips are all `pattern(STRIP_ROWS, side_px)`."""
    count = -(-side_px // STRIP_ROWS)
    return _tiff(side_px, pattern(STRIP_ROWS, side_px).tobytes(), 1, {273: count, 278: [STRIP_ROWS], 279: count})


def _tiff(side_px: int, data: bytes, compression: int, places: dict[int, int | list[int]]) -> bytes:
    """Pixels at 8, then the lists, then the directory; in `places`, a number is how many times they are named."""
    body = b"II*\0" + bytes(4) + data + bytes(-len(data) % 4)
    entries = {256: [side_px], 257: [side_px], 258: [8, 8, 8], 259: [compression], 262: [2], 277: [3], 284: [1]}
    for tag, value in places.items():
        what = 8 if tag in (273, 324) else len(data)
        entries[tag] = [what] * value if isinstance(value, int) else value
    directory = struct.pack("<H", len(entries))
    for tag, values in sorted(entries.items()):
        place = values[0]
        if len(values) > 1:
            place, body = len(body), body + struct.pack(f"<{len(values)}I", *values)
        directory += struct.pack("<HHII", tag, 4, len(values), place)
    return body[:4] + struct.pack("<I", len(body)) + body[8:] + directory + bytes(4)

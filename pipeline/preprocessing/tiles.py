"""How an image of any size is cut into overlapping tiles: where they are, in pixels of the upright image."""

from collections.abc import Iterator

from pipeline.featureset.part import Box
from pipeline.preprocessing.turning import stored_box

# Stands for the tiles of an image whose size could not be told.
NO_BOX: Box = (0, 0, 0, 0)


def tile_boxes(size: tuple[int, int], *, tile_px: int, overlap_px: int, orientation: int = 1) -> Iterator[Box]:
    """The boxes (left, top, width, height) of all tiles, in the order in which the file has their pixels.

    All are full-size where the image is: those of the last column and row are moved inwards, and overlap more.

    Args:
        size: (height, width) of the upright image in pixels.
        tile_px: side of a tile.
        overlap_px: what neighbours have in common.
        orientation: by EXIF; with that of most files, 1, the order is row after row of the upright image.
    """
    height, width = size
    boxes = (
        (left, top, min(tile_px, width), min(tile_px, height))
        for top in _starts(height, tile_px, overlap_px)
        for left in _starts(width, tile_px, overlap_px)
    )
    if orientation == 1:
        yield from boxes
    else:
        yield from sorted(boxes, key=lambda box: stored_box(box, size, orientation)[1::-1])


def _starts(length: int, tile_px: int, overlap_px: int) -> Iterator[int]:
    last = max(0, length - tile_px)
    yield from range(0, last, tile_px - overlap_px)
    yield last

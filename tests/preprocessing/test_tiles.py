"""Tiles: every pixel is in one, all are full-size, and they come in the order of the file."""

import numpy as np
import pytest

from pipeline.preprocessing.tiles import tile_boxes
from pipeline.preprocessing.turning import stored_box


def test_boxes_are_what_one_would_draw_by_hand():
    assert list(tile_boxes((700, 1000), tile_px=512, overlap_px=112)) == [
        (0, 0, 512, 512),
        (400, 0, 512, 512),
        (488, 0, 512, 512),
        (0, 188, 512, 512),
        (400, 188, 512, 512),
        (488, 188, 512, 512),
    ]


@pytest.mark.parametrize("size", [(1, 1), (31, 32), (33, 31), (32, 33), (100, 57), (56, 80), (57, 81), (5, 200)])
@pytest.mark.parametrize("overlap_px", [0, 1, 8, 16])
def test_every_pixel_is_in_a_tile_and_all_are_full_size(size: tuple[int, int], overlap_px: int):
    seen = np.zeros(size, int)
    boxes = list(tile_boxes(size, tile_px=32, overlap_px=overlap_px))
    for left, top, width, height in boxes:
        assert (height, width) == (min(32, size[0]), min(32, size[1]))
        assert left >= 0
        assert top >= 0
        seen[top : top + height, left : left + width] += 1
        assert (left + width, top + height) <= (size[1], size[0])
    assert seen.min() == 1, "every pixel, and those of the corners once"
    assert len(set(boxes)) == len(boxes)
    lefts, tops = sorted({box[0] for box in boxes}), sorted({box[1] for box in boxes})
    assert len(lefts) * len(tops) == len(boxes)
    assert max(np.diff([*lefts]), default=0) <= 32 - overlap_px, "neighbours have at least the overlap in common"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_order_is_the_files_own_whatever_way_it_is_turned(orientation: int):
    size = (70, 100)
    boxes = list(tile_boxes(size, tile_px=32, overlap_px=4, orientation=orientation))
    assert set(boxes) == set(tile_boxes(size, tile_px=32, overlap_px=4))
    stored = [stored_box(box, size, orientation)[1::-1] for box in boxes]
    assert stored == sorted(stored), "rows of tiles from the top of the file down"

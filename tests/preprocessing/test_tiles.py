"""Tiles: every pixel is in one, all are full-size where the image is, and they come row by row."""

import numpy as np
import pytest

from pipeline.preprocessing.tiles import tile_boxes


@pytest.mark.parametrize("size", [(1, 1), (10, 300), (64, 64), (65, 64), (200, 137), (1000, 999)])
@pytest.mark.parametrize("overlap_px", [0, 16, 63])
def test_tiles_cover_the_image_and_are_as_large_as_they_can_be(size: tuple[int, int], overlap_px: int):
    seen, boxes = np.zeros(size, int), list(tile_boxes(size, tile_px=64, overlap_px=overlap_px))
    for left, top, width, height in boxes:
        assert (height, width) == (min(64, size[0]), min(64, size[1]))
        assert left + width <= size[1]
        assert top + height <= size[0]
        seen[top : top + height, left : left + width] += 1
    assert seen.min() >= 1
    assert len(set(boxes)) == len(boxes)
    assert [box[1::-1] for box in boxes] == sorted(box[1::-1] for box in boxes), "row by row"


def test_neighbours_overlap_by_what_was_asked_for_and_the_last_more():
    boxes = list(tile_boxes((64, 200), tile_px=64, overlap_px=16))
    assert [left for left, *_ in boxes] == [0, 48, 96, 136]


def test_a_turned_image_has_the_same_tiles_in_the_order_of_its_file():
    upright = list(tile_boxes((200, 130), tile_px=64, overlap_px=8))
    turned = list(tile_boxes((200, 130), tile_px=64, overlap_px=8, orientation=6))
    assert sorted(turned) == sorted(upright)
    assert turned != upright

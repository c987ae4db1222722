"""Tiles: every pixel is in one, all are full-size where the image is, and they come in the order of the file's rows."""

import numpy as np
import pytest

from pipeline.preprocessing.tiles import tile_boxes
from pipeline.preprocessing.turning import stored_box

SIZES = [(1, 1), (1, 1000), (100, 100), (101, 99), (250, 330), (100, 400), (999, 181)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("overlap_px", [0, 20, 50])
def test_every_pixel_is_in_a_tile_and_tiles_are_full_size_where_the_image_is(size: tuple[int, int], overlap_px: int):
    boxes = list(tile_boxes(size, tile_px=100, overlap_px=overlap_px))
    seen = np.zeros(size, bool)
    for left, top, width, height in boxes:
        assert (height, width) == (min(100, size[0]), min(100, size[1]))
        assert 0 <= left <= size[1] - width
        assert 0 <= top <= size[0] - height
        seen[top : top + height, left : left + width] = True
    assert seen.all()
    assert boxes == sorted(set(boxes), key=lambda box: (box[1], box[0])), "row after row, none twice"


def test_the_last_ones_are_moved_inwards_and_neighbours_overlap_as_told():
    boxes = list(tile_boxes((2500, 3000), tile_px=1024, overlap_px=128))
    assert sorted({left for left, *_ in boxes}) == [0, 896, 1792, 1976]
    assert sorted({top for _, top, *_ in boxes}) == [0, 896, 1476]
    assert len(boxes) == 12
    assert list(tile_boxes((1024, 1920), tile_px=1024, overlap_px=128)) == [(0, 0, 1024, 1024), (896, 0, 1024, 1024)]


def test_a_smaller_image_is_one_tile():
    assert list(tile_boxes((1023, 40), tile_px=1024, overlap_px=128)) == [(0, 0, 40, 1023)]


@pytest.mark.parametrize("orientation", range(2, 9))
def test_those_of_a_turned_image_come_in_the_order_of_its_file(orientation: int):
    size = (250, 330)
    turned = list(tile_boxes(size, tile_px=100, overlap_px=20, orientation=orientation))
    assert sorted(turned) == sorted(tile_boxes(size, tile_px=100, overlap_px=20))
    stored = [stored_box(box, size, orientation) for box in turned]
    assert stored == sorted(stored, key=lambda box: (box[1], box[0]))

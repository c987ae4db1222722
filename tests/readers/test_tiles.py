"""Tiles that cover a box: all that have a pixel of it and no others, row by row, found by the index alone."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import FeatureSetError, ImageNotFoundError
from pipeline.featureset.schema import TILES
from pipeline.preprocessing.tiles import tile_boxes
from pipeline.readers.feature_set import open_features
from tests.small_set import SmallSet

SIZE, SIDE_PX = (250, 330), 64
BOXES = list(tile_boxes(SIZE, tile_px=100, overlap_px=20))
IDS = ["a.tif#box={},{},{},{}".format(*box) for box in BOXES]
OTHERS = ["a.tif2#box=0,0,50,40", "whole.png"]


def carried() -> dict[str, dict[str, object]]:
    """The columns of tiles, by image id."""
    rows: dict[str, tuple[object, ...]] = {
        image_id: (*box, *SIZE, SIDE_PX / box[3], SIDE_PX / box[2]) for image_id, box in zip(IDS, BOXES, strict=True)
    }
    rows |= {OTHERS[0]: (0, 0, 50, 40, 40, 50, SIDE_PX / 40, SIDE_PX / 50), OTHERS[1]: (None,) * 8}
    return {name: {image_id: row[place] for image_id, row in rows.items()} for place, name in enumerate(TILES.names)}


@pytest.fixture
def small(tmp_path: Path) -> SmallSet:
    small = SmallSet(tmp_path)
    order = np.random.default_rng(0).permutation(len(IDS))  # a turned image's tiles come in another order
    small.embed([[IDS[place] for place in order], OTHERS], bad=[OTHERS[1]], carried=carried())
    return small


@pytest.mark.parametrize(
    "box", [(0, 0, 1, 1), (99, 99, 1, 1), (80, 0, 1, 250), (95, 95, 140, 10), (329, 249, 1, 1), (-50, -50, 51, 51)]
)
def test_they_are_those_with_a_pixel_in_it_row_by_row(small: SmallSet, box: tuple[int, int, int, int]):
    wanted = np.zeros(SIZE, bool)
    wanted[max(0, box[1]) : box[1] + box[3], max(0, box[0]) : box[0] + box[2]] = True
    expected = [
        image_id
        for image_id, (left, top, width, height) in zip(IDS, BOXES, strict=True)
        if wanted[top : top + height, left : left + width].any()
    ]
    found = open_features(small.uri).tiles("a.tif", box)
    assert found == expected
    assert found, "every pixel is in a tile"


def test_without_a_box_they_are_all_of_the_image_and_a_box_outside_has_none(small: SmallSet):
    for shard in Path(small.uri).glob("shards/*/*"):
        shard.unlink()
    features = open_features(small.uri)
    assert features.tiles("a.tif") == IDS
    assert features.tiles("a.tif2") == OTHERS[:1]
    assert features.tiles("a.tif", (330, 0, 10, 10)) == []


def test_a_row_says_where_it_is_and_at_what_scale(small: SmallSet):
    features = open_features(small.uri)
    row = features[IDS[-1]]
    assert (row.box, row.scale) == ((230, 150, 100, 100), (0.64, 0.64))
    assert features[OTHERS[0]].scale == (1.6, 1.28)


def test_a_cell_of_a_map_is_where_the_formula_has_it(small: SmallSet):
    row = open_features(small.uri)[IDS[5]]
    left, top, width, height = row.box
    for values in row.maps.values():
        num_rows, num_columns = values.shape[1:]
        corners = [
            (top + i * height / num_rows, left + j * width / num_columns) for i, j in ((0, 0), (num_rows, num_columns))
        ]
        assert corners == [(top, left), (top + height, left + width)]
        stride = SIDE_PX / num_rows
        assert 3 * height / num_rows == pytest.approx(3 * stride / row.scale[0]), "the same by the stride"


def test_what_has_no_tiles_says_so(small: SmallSet, tmp_path: Path):
    features = open_features(small.uri)
    with pytest.raises(ImageNotFoundError, match=r"'whole\.png' was quarantined"):
        features.tiles("whole.png")
    with pytest.raises(ImageNotFoundError, match=r"no image 'a\.ti'"):
        features.tiles("a.ti")
    with pytest.raises(ValueError, match=r"has no pixels"):
        features.tiles("a.tif", (0, 0, 0, 5))
    plain = SmallSet(tmp_path / "plain")
    plain.embed([["a"]])
    with pytest.raises(FeatureSetError, match="embed with preprocess=tiles"):
        open_features(plain.uri).tiles("a")
    row = open_features(plain.uri)["a"]
    assert (row.box, row.scale) == (None, None)

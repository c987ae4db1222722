"""Tiles of a feature set: those that have a pixel in a box, row by row, by the index alone."""

from pathlib import Path

import pytest

from pipeline.errors import FeatureSetError, ImageNotFoundError
from pipeline.featureset.schema import TILES
from pipeline.preprocessing.tiles import tile_boxes
from pipeline.readers.feature_set import open_features
from tests.small_set import SmallSet

SIZE = (200, 300)
BOXES = {
    f"{name}#box={','.join(map(str, box))}": box
    for name in ("a.tif", "a.tiff")
    for box in tile_boxes(SIZE, tile_px=128, overlap_px=32)
}


@pytest.fixture
def tiled(tmp_path: Path) -> SmallSet:
    """A set of the tiles of two images, in an order that is not theirs."""
    small = SmallSet(tmp_path)
    values = {each: (*box, *SIZE, 0.5, 0.5) for each, box in BOXES.items()}
    carried = {name: {each: row[place] for each, row in values.items()} for place, name in enumerate(TILES.names)}
    ids = sorted(BOXES, key=hash)
    small.embed([ids[:5], ids[5:]], carried=carried)
    return small


@pytest.mark.parametrize(
    "box", [None, (0, 0, 1, 1), (96, 0, 32, 1), (128, 0, 40, 72), (299, 199, 1, 1), (0, 0, 300, 200)]
)
def test_the_tiles_that_cover_a_box(tiled: SmallSet, box: tuple[int, int, int, int] | None):
    left, top, width, height = box or (0, 0, *SIZE[::-1])
    expected = [
        each
        for each, (x, y, w, h) in BOXES.items()
        if each.startswith("a.tif#") and x < left + width and left < x + w and y < top + height and top < y + h
    ]
    features = open_features(tiled.uri)
    assert features.tiles("a.tif", box) == expected
    assert features[expected[0]].box == BOXES[expected[0]]


def test_what_has_no_tiles_says_so(tiled: SmallSet, tmp_path_factory: pytest.TempPathFactory):
    features = open_features(tiled.uri)
    with pytest.raises(ImageNotFoundError, match=r"no tiles of an image 'b\.tif'"):
        features.tiles("b.tif")
    with pytest.raises(ValueError, match="has no pixels"):
        features.tiles("a.tif", (0, 0, 0, 5))
    other = SmallSet(tmp_path_factory.mktemp("other"))
    other.embed([["a"]])
    with pytest.raises(FeatureSetError, match="preprocess=tiles"):
        open_features(other.uri).tiles("a")
    assert open_features(other.uri)["a"].box is None

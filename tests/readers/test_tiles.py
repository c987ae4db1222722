"""Tiles that cover a box: found by the index alone, in the order of reading, with boxes and scales that lead back."""

from pathlib import Path

import pytest

from pipeline.errors import FeatureSetError, ImageNotFoundError
from pipeline.featureset.schema import TILES
from pipeline.preprocessing.tiles import tile_boxes
from pipeline.readers.feature_set import FeatureSet, open_features
from tests.small_set import SmallSet

SIZE = (70, 100)  # of a.tif; a tile has 32 x 32 pixels, 4 of them in common with its neighbour


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> FeatureSet:
    small = SmallSet(tmp_path_factory.mktemp("tiles") / "set")
    rows = {
        f"{name}#box={','.join(map(str, box))}": (*box, *SIZE, 128 / box[3], 128 / box[2])
        for name in ("a.tif", "a.tif2")
        for box in tile_boxes(SIZE, tile_px=32, overlap_px=4)
    }
    ids = sorted(rows, reverse=True)
    carried = {name: {key: rows[key][place] for key in ids} for place, name in enumerate(TILES.names)}
    small.embed([ids], bad=["a.tif2#box=0,0,32,32"], carried=carried)
    return open_features(small.uri)


def test_a_box_has_the_tiles_with_a_pixel_in_it(features: FeatureSet):
    boxes = list(tile_boxes(SIZE, tile_px=32, overlap_px=4))
    for box in ((0, 0, 1, 1), (30, 31, 1, 1), (28, 28, 40, 4), (99, 69, 1, 1), (32, 0, 1, 70), (-5, -5, 6, 6)):
        columns, rows = (range(start, start + length) for start, length in zip(box[:2], box[2:], strict=True))
        expected = [
            f"a.tif#box={left},{top},{width},{height}"
            for left, top, width, height in boxes
            if any(left <= x < left + width for x in columns) and any(top <= y < top + height for y in rows)
        ]
        assert features.tiles("a.tif", box) == expected
    assert len(features.tiles("a.tif")) == len(boxes), "and none of an image whose name goes on"
    assert features.tiles("a.tif", (200, 200, 9, 9)) == []


def test_rows_say_where_they_are(features: FeatureSet):
    row = features[features.tiles("a.tif", (99, 69, 1, 1))[-1]]
    assert (row.box, row.scale) == ((68, 38, 32, 32), (4.0, 4.0))


def test_what_there_is_not_is_said(features: FeatureSet, tmp_path: Path):
    with pytest.raises(ImageNotFoundError, match=r"b\.tif"):
        features.tiles("b.tif")
    with pytest.raises(ValueError, match="has no pixels"):
        features.tiles("a.tif", (3, 3, 0, 1))
    plain = SmallSet(tmp_path / "plain")
    plain.embed([["a"]])
    with pytest.raises(FeatureSetError, match="embed with preprocess=tiles"):
        open_features(plain.uri).tiles("a")
    assert open_features(plain.uri)["a"].box is None
    assert open_features(plain.uri)["a"].scale is None

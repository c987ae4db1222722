"""Searching: the right images in the right order, by image, by file and by region, as a table and as a sheet."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import ConfigError, ImageNotFoundError
from pipeline.exports.building import build_index
from pipeline.exports.image_table import IndexedImage
from pipeline.exports.search import Found, Hit, search_by_id, search_by_image, search_by_region
from pipeline.exports.sheet import Tile
from pipeline.exports.vector_index import VectorIndex
from tests.small_set import original_size
from tests.vector_set import VectorSet, embedded_photos, gaussian, grid_spec, names, near


def ids_of(found: Found) -> list[str]:
    return [hit.image.image_id for hit in found.hits]


@pytest.fixture
def ranked(tmp_path: Path) -> VectorIndex:
    """Images whose similarity to the first falls with their number: 0.9, 0.8, ..."""
    made, first = VectorSet(tmp_path / "set"), gaussian(1)[0]
    others = [near(first, 0.9 - number / 10, seed=number) for number in range(8)]
    made.embed_vectors(names(9), np.stack([first, *others]))
    build_index(made.uri, str(tmp_path / "index"))
    return VectorIndex(str(tmp_path / "index"))


def test_an_image_finds_the_most_similar_others_first(ranked: VectorIndex):
    found = search_by_id(ranked, names(1)[0], 3)
    assert ids_of(found) == names(3, 1)
    assert found.text().splitlines() == [
        "RANDOM WEIGHTS (seed 0, untrained): similarities mean nothing",
        "rank  similarity  image_id          uri",
        "1     0.9000      photos/00001.jpg  /data/photos/00001.jpg",
        "2     0.8000      photos/00002.jpg  /data/photos/00002.jpg",
        "3     0.7000      photos/00003.jpg  /data/photos/00003.jpg",
    ]


def test_an_unknown_image_is_refused_with_near_ones(ranked: VectorIndex):
    with pytest.raises(
        ImageNotFoundError, match=r"no image 'photos/0001.jpg' among 9; did you mean 'photos/00001.jpg'"
    ):
        search_by_id(ranked, "photos/0001.jpg", 3)


def test_an_old_index_says_so_and_searches(index: VectorIndex, small: VectorSet, caplog):
    small.embed_vectors(["new.jpg"], gaussian(1))
    with caplog.at_level(logging.WARNING, "pipeline"):
        found = search_by_id(index, names(1)[0], 2)
    assert "run 2" in caplog.text
    assert "run 3" in caplog.text
    assert len(found.hits) == 2


def test_a_file_finds_itself_in_the_set_first(make_photos, tmp_path: Path):
    ids = make_photos(tmp_path / "photos", 6)
    made = embedded_photos(tmp_path / "set", tmp_path / "photos", ids)
    build_index(made.uri, str(tmp_path / "index"))
    index = VectorIndex(str(tmp_path / "index"))
    for image_id in ids[:2]:
        found = search_by_image(index, str(tmp_path / "photos" / image_id), 6)
        assert ids_of(found)[0] == image_id
        assert found.hits[0].similarity == pytest.approx(1, abs=1e-3)
        assert sorted(ids_of(found)) == ids


def test_files_that_are_no_images_are_refused(make_photos, tmp_path: Path):
    made = embedded_photos(tmp_path / "debug", tmp_path, make_photos(tmp_path, 1))
    build_index(made.uri, str(tmp_path / "debug_index"))
    debug = VectorIndex(str(tmp_path / "debug_index"))
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(ConfigError, match=r"text.jpg: none of the known image formats"):
        search_by_image(debug, str(tmp_path / "text.jpg"), 3)
    with pytest.raises(ConfigError, match=r"gone.jpg cannot be read: No such file"):
        search_by_image(debug, str(tmp_path / "gone.jpg"), 3)


def test_a_region_finds_the_images_with_the_most_similar_cell_and_where_it_is(tmp_path: Path):
    made, ids = VectorSet(tmp_path / "set", (grid_spec(4),)), names(5)
    grids = gaussian(80, seed=4).reshape(5, 16, 256)
    grids[2, 6], grids[4, 15] = near(grids[0, 5], 0.9), near(grids[0, 5], 0.8, seed=1)
    made.embed_vectors(ids, gaussian(5), grids=grids)
    build_index(made.uri, str(tmp_path / "cells"), "grid")
    cells = VectorIndex(str(tmp_path / "cells"))
    found = search_by_region(cells, ids[0], 3, region=(0.25, 0.25, 0.5, 0.5))
    assert ids_of(found)[:2] == [ids[2], ids[4]]
    assert [hit.similarity for hit in found.hits[:2]] == pytest.approx([0.9, 0.8], abs=1e-3)
    height, width = original_size(ids[2])  # 26 x 36 pixels: cells of 6.5 x 9
    assert (height, width) == (26, 36)
    assert found.hits[0].box == (18, 6, 27, 13)
    assert found.hits[1].box == (27, 19, 36, 26)
    assert found.query.box == (9, 6, 18, 13)
    assert "box (x0,y0,x1,y1)" in found.text()
    assert "18,6,27,13" in found.text().splitlines()[2]


def test_regions_and_indexes_that_do_not_fit_are_refused(index: VectorIndex, cells: VectorIndex):
    with pytest.raises(ConfigError, match="needs an index of cells"):
        search_by_region(index, names(1)[0], 3, region=(0, 0, 1, 1))
    with pytest.raises(ConfigError, match="is empty"):
        search_by_region(cells, names(1)[0], 3, region=(0.5, 0, 0.5, 1))
    with pytest.raises(ConfigError, match=r"say which part of the image, for example region=\[0,0,1,1\]"):
        search_by_id(cells, names(1)[0], 3)
    with pytest.raises(ConfigError, match="needs one with vectors=pooled"):
        search_by_image(cells, "photo.jpg", 3)


def test_a_sheet_shows_the_query_and_every_hit(make_photos, tmp_path: Path):
    ids = make_photos(tmp_path / "photos", 8)
    made = embedded_photos(tmp_path / "set", tmp_path / "photos", ids)
    build_index(made.uri, str(tmp_path / "index"))
    found = search_by_id(VectorIndex(str(tmp_path / "index")), ids[0], 7)
    (tmp_path / "photos" / ids_of(found)[0]).unlink()
    found.write_sheet(tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (6 * 200 + 8, 2 * 232 + 8 + 24)
        assert sheet.getpixel((8 + 200 + 2, 32 + 2)) == (160, 160, 160)
        assert sheet.getpixel((8 + 400 + 96, 32 + 96)) != (160, 160, 160)


def test_a_name_that_does_not_print_is_spelled():
    image = IndexedImage("a\n\x1b[2J.jpg", "https://h/a?sig=hunter2\n", 1, 1)
    text = Found(Tile("", ("", "")), [Hit(0.5, image, None)], None).text()
    assert text.splitlines()[1:] == ["1     0.5000      a\\n\\x1b[2J.jpg  https://h/a?***\\n"]

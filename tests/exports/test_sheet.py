"""Sheets: as large as they should be, each image in its place, boxes where they belong, grey for what is gone."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import SinkError
from pipeline.exports.sheet import LINE_PX, MARGIN_PX, TILE_PX, Tile, sheet_size, write_sheet

RED, GREY = (220, 30, 30), (160, 160, 160)


@pytest.fixture
def blue(tmp_path: Path) -> str:
    """A wide blue image, twice as large as a tile."""
    Image.new("RGB", (2 * TILE_PX, TILE_PX), (0, 0, 255)).save(tmp_path / "blue.png")
    return str(tmp_path / "blue.png")


def drawn(tmp_path: Path, *tiles: Tile | None, title: str | None = None) -> np.ndarray:
    write_sheet(tmp_path / "sheet.png", tiles, title=title)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"
        return np.array(sheet)


def tile_of(sheet: np.ndarray, number: int, top: int = MARGIN_PX) -> np.ndarray:
    row, column = divmod(number, 6)
    y, x = top + row * (TILE_PX + 2 * LINE_PX + MARGIN_PX), MARGIN_PX + column * (TILE_PX + MARGIN_PX)
    return sheet[y : y + TILE_PX, x : x + TILE_PX]


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (6, 6, 1), (7, 6, 2), (13, 6, 3)])
def test_a_sheet_has_its_size(blue: str, tmp_path: Path, count: int, columns: int, rows: int):
    sheet = drawn(tmp_path, *[Tile(blue, ("0.9", "blue"))] * count)
    width, height = columns * 200 + 8, rows * 232 + 8
    assert sheet.shape == (height, width, 3)
    assert sheet_size(count, has_title=False) == (width, height)
    titled = drawn(tmp_path, *[Tile(blue, ("0.9", "blue"))] * count, title="a title that may be longer than the sheet")
    assert titled.shape == (height + 24, width, 3)


def test_an_image_lies_whole_in_the_middle_of_its_tile_with_words_below(blue: str, tmp_path: Path):
    sheet = drawn(
        tmp_path, Tile(blue, ("0.9", "x")), None, Tile(blue, ("0.8", "a/folder/with/a/name/that/is/long.png"))
    )
    for number in (0, 2):
        tile = tile_of(sheet, number)
        assert (tile[50:-50] == (0, 0, 255)).all()
        assert (tile[:46] == 255).all()
    assert (tile_of(sheet, 1) == 255).all()
    below = sheet[MARGIN_PX + TILE_PX : MARGIN_PX + TILE_PX + 2 * LINE_PX]
    assert (below[:, :200] < 100).any()
    assert (below[:, 208:400] == 255).all()


def test_a_box_is_drawn_where_it_is_in_the_original(blue: str, tmp_path: Path):
    box = (TILE_PX, TILE_PX // 2, 2 * TILE_PX, TILE_PX)  # the lower right quarter
    tile = tile_of(drawn(tmp_path, Tile(blue, ("0.9", "blue"), box)), 0)
    ys, xs = np.nonzero((tile == RED).all(axis=2))
    quarter = TILE_PX // 4
    assert (xs.min(), xs.max()) == (TILE_PX // 2, TILE_PX - 1)
    assert (ys.min(), ys.max()) == (2 * quarter, 3 * quarter - 1)


def test_what_cannot_be_read_is_a_grey_tile_that_says_so(blue: str, tmp_path: Path):
    (tmp_path / "broken.png").write_bytes(Path(blue).read_bytes()[:60])
    uris = (str(tmp_path / "gone.png"), str(tmp_path / "broken.png"), "https://images.example/a.png", "ftp://b/a.png")
    sheet = drawn(tmp_path, *(Tile(uri, ("1", "")) for uri in uris))
    for number in range(len(uris)):
        tile = tile_of(sheet, number)
        assert (tile == GREY).all(axis=2).mean() > 0.8
        assert (tile < 100).all(axis=2).any(), "words"


def test_a_tile_of_a_large_image_is_grey_and_never_the_whole_image(blue: str, tmp_path: Path):
    sheet = drawn(tmp_path, Tile(blue, ("1", ""), part="box=0,0,8,8"), Tile(str(tmp_path / "gone.png"), ("1", "")))
    for number in (0, 1):
        assert (tile_of(sheet, number) == GREY).all(axis=2).mean() > 0.8
    assert (tile_of(sheet, 0) != tile_of(sheet, 1)).any(), "it says something else"


def test_a_sheet_that_cannot_be_written_is_named(blue: str):
    with pytest.raises(SinkError, match="cannot write"):
        write_sheet(Path(blue) / "sheet.png", [Tile(blue, ("", ""))])


def test_a_name_that_does_not_print_is_spelled(blue: str, tmp_path: Path):
    odd = drawn(tmp_path, Tile(blue, ("0.9", "a\nb\x1b")))
    assert np.array_equal(odd, drawn(tmp_path, Tile(blue, ("0.9", "a\\nb\\x1b"))))

"""Pictures look like the images they are of, whatever part of a file that is, and say why where there are none."""

import io
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.preprocessing.pixel_rules import PixelRules
from pipeline.report.pictures import Pictures
from pipeline.storage.roots import Roots


@pytest.fixture(scope="module")
def pictures():
    with Pictures(64, num_decoders=1) as made:
        yield made


def image(colour: tuple[int, int, int], size: tuple[int, int] = (90, 60), kind: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, colour).save(data, kind)
    return data.getvalue()


def middle(square: np.ndarray | str) -> list[int]:
    assert isinstance(square, np.ndarray), square
    assert (square.shape, square.dtype) == ((64, 64, 3), np.uint8)
    return square[32, 32].tolist()


def test_parts_of_files_are_shown_as_the_encoder_saw_them(pictures: Pictures, tmp_path: Path):
    (tmp_path / "plain.png").write_bytes(image((200, 30, 60)))
    (tmp_path / "two.tar").write_bytes(image((1, 2, 3)) + (inner := image((10, 250, 90))))
    start = (tmp_path / "two.tar").stat().st_size - len(inner)
    rows = pa.table({"image": [image((9, 9, 9)), image((70, 80, 90))]})
    pq.write_table(rows, tmp_path / "rows.parquet")
    pages = [Image.new("RGB", (50, 50), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    asked = [
        ("plain.png", None, [200, 30, 60]),
        ("two.tar", f"bytes={start}-{start + len(inner)}", [10, 250, 90]),
        ("rows.parquet", "row=1&column=image", [70, 80, 90]),
        ("pages.tif", "page=1", [0, 0, 255]),
    ]
    found = list(pictures.squares({"uri": str(tmp_path / name), "part": part} for name, part, _ in asked))
    assert [middle(square) for square in found] == [colour for _, _, colour in asked]


def test_a_tile_is_a_window_of_its_image(pictures: Pictures, tmp_path: Path):
    whole = np.zeros((600, 900, 3), np.uint8)
    whole[:, 600:] = (250, 120, 10)
    Image.fromarray(whole).save(tmp_path / "large.tif")
    part = {"uri": str(tmp_path / "large.tif"), "part": "box=600,0,300,300"}
    assert middle(next(pictures.squares([part]))) == [250, 120, 10]


def test_what_cannot_be_had_says_why_and_the_others_come(pictures: Pictures, tmp_path: Path):
    (tmp_path / "good.png").write_bytes(image((5, 5, 5)))
    (tmp_path / "bad.png").write_bytes(b"<html>")
    uris = ["gone.png", "bad.png", "good.png", "gone.parquet"]
    asked = [{"uri": str(tmp_path / name)} for name in uris]
    asked[3]["part"] = "row=0&column=image"
    asked += [{"uri": "https://example.org/a.png"}, {"uri": str(tmp_path / "x"), "part": "damage=cut+off"}]
    gone, bad, good, rows, web, damaged = pictures.squares(asked)
    assert gone == "No such file or directory"
    assert "looks like HTML" in str(bad)
    assert middle(good) == [5, 5, 5]
    assert isinstance(rows, str)
    assert "the web is read only below roots" in str(web)
    assert damaged == "cut off"


def test_of_a_damaged_image_what_is_there_is_shown_only_where_that_is_wanted(pictures: Pictures, tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 80, (40, 60, 3), np.uint8).repeat(5, axis=0).repeat(5, axis=1)
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    asked = [{"uri": str(tmp_path / "cut.jpg")}]
    assert "truncated" in str(next(pictures.squares(asked)))
    with Pictures(64, rules=PixelRules(are_damaged_shown=True), num_decoders=1) as lenient:
        square = next(lenient.squares(asked))
    assert isinstance(square, np.ndarray)
    assert square[4].std() > 10
    assert square[60].std() < 2


def test_roots_and_time_bound_what_is_read(tmp_path: Path):
    (tmp_path / "in").mkdir()
    for name in ("in/a.png", "b.png"):
        (tmp_path / name).write_bytes(image((7, 7, 7)))
    asked = [{"uri": str(tmp_path / "in/a.png")}, {"uri": str(tmp_path / "b.png")}]
    with Pictures(64, num_decoders=1, roots=Roots((str(tmp_path / "in"),))) as pictures:
        inside, outside = pictures.squares(asked)
    assert middle(inside) == [7, 7, 7]
    assert "root" in str(outside)
    with Pictures(64, num_decoders=1, until=time.monotonic() - 1) as pictures:
        assert list(pictures.squares(asked)) == ["not read: there was no time left for it"] * 2

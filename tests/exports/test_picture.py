"""Pictures of rows: those of whole files, of ranges of bytes and of pages; others are not drawn, and say so."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import ImageError, UriError
from pipeline.exports.picture import picture
from pipeline.featureset.part import Part
from pipeline.storage.roots import Roots


def test_a_whole_file_a_range_of_one_and_a_page_are_drawn(tmp_path: Path):
    pages = [Image.new("RGB", (9, 7), colour) for colour in ("red", "blue")]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "shard").write_bytes(b"before" + data + b"after")
    at = (6, 6 + len(data))
    for uri, part, colour in (
        ("a.tif", None, (255, 0, 0)),
        ("a.tif", Part(page=1), (0, 0, 255)),
        ("shard", Part(bytes_at=at), (255, 0, 0)),
        ("shard", Part(bytes_at=at, page=1), (0, 0, 255)),
    ):
        found = picture(str(tmp_path / uri), part and part.text)
        np.testing.assert_array_equal(found, np.full((7, 9, 3), colour, np.uint8))


@pytest.mark.parametrize("part", [Part(box=(0, 0, 1, 1)), Part(row=3, column="image"), Part(video_frame=2)])
def test_what_only_a_decoder_process_opens_is_not_drawn(part: Part):
    with pytest.raises(ImageError, match="is not drawn") as caught:
        picture("/nowhere/at/all", part.text)
    assert caught.value.error_type == "NotDrawn"


def test_a_picture_below_no_root_and_one_on_the_web_are_not_read(tmp_path: Path):
    Image.new("RGB", (9, 7), "red").save(tmp_path / "a.png")
    uri = str(tmp_path / "a.png")
    assert picture(uri, None, roots=Roots((str(tmp_path),))).shape == (7, 9, 3)
    with pytest.raises(UriError, match="below no root"):
        picture(uri, None, roots=Roots((str(tmp_path / "elsewhere"),)))
    with pytest.raises(UriError, match="the web is read only below roots"):
        picture("https://images.example/a.png", None)

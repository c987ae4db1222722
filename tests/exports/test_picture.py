"""Pictures: of files, of ranges of files and of pages; parts that only decoder processes open are not drawn."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import ImageError
from pipeline.exports.picture import picture
from pipeline.preprocessing.decode import decode


def test_a_picture_is_of_the_part_and_never_of_the_whole_in_its_place(photographs: dict[str, Path], tmp_path: Path):
    first, second = (photographs[name].read_bytes() for name in ("coffee.png", "rocket.jpg"))
    (tmp_path / "shard.tar").write_bytes(first + second)
    np.testing.assert_array_equal(picture(str(photographs["coffee.png"]), None), decode(first))
    place = f"bytes={len(first)}-{len(first) + len(second)}"
    np.testing.assert_array_equal(picture(str(tmp_path / "shard.tar"), place), decode(second))


def test_a_page_is_drawn(tmp_path: Path):
    pages = [Image.new("RGB", (9, 5), colour) for colour in ("red", "blue")]
    stream = io.BytesIO()
    pages[0].save(stream, "TIFF", save_all=True, append_images=pages[1:])
    (tmp_path / "pages.tif").write_bytes(stream.getvalue())
    assert (picture(str(tmp_path / "pages.tif"), "page=1") == (0, 0, 255)).all()


@pytest.mark.parametrize("part", ["box=0,0,8,8", "bytes=0-9&box=0,0,8,8", "row=3&column=image", "video_frame=3&pts=5"])
def test_other_parts_are_not_read_at_all(part: str):
    with pytest.raises(ImageError) as caught:
        picture("/nowhere/at/all", part)
    assert caught.value.error_type == "NotDrawn"

"""Pictures of rows: the part that the row is of, or a word that it is not drawn."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import ImageError
from pipeline.exports.picture import picture


def test_whole_files_ranges_and_pages_are_drawn_and_other_parts_are_not(tmp_path: Path):
    pages = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    data = (tmp_path / "x.tif").read_bytes()
    (tmp_path / "shard").write_bytes(b"before" + data + b"after")
    red, blue = ([[[255, 0, 0]] * 8] * 6), ([[[0, 0, 255]] * 8] * 6)
    np.testing.assert_array_equal(picture(str(tmp_path / "x.tif"), None), red)
    np.testing.assert_array_equal(picture(str(tmp_path / "x.tif"), "page=1"), blue)
    np.testing.assert_array_equal(picture(str(tmp_path / "shard"), f"bytes=6-{6 + len(data)}&page=1"), blue)
    for part in ("box=0,0,2,2", "video_frame=3", "row=1&column=image"):
        with pytest.raises(ImageError) as caught:
            picture(str(tmp_path / "x.tif"), part)
        assert caught.value.error_type == "NotDrawn"

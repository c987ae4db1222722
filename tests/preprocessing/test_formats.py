"""Formats: those of the list are opened, anything else is named for what it is, and no other parser is asked."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import ImageError
from pipeline.preprocessing.formats import FORMATS, open_image, require_size
from tests.preprocessing.conftest import Encode


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_on_the_list_is_opened(encode: Encode, kind: str, pixels_HWC: np.ndarray):
    with open_image(encode(kind, quality=95)) as image:
        assert (image.format, image.size) == (kind, (64, 48))
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - pixels_HWC).mean() < 8


def test_the_list_is_the_one_in_the_documentation():
    assert FORMATS == ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "EPS"),
        (b"\xc5\xd0\xd3\xc6" + bytes(30), "EPS"),
        (b"8BPS\0\x01" + bytes(40), "PSD"),
        (b"SIMPLE  =                    T" + b" " * 50, "FITS"),
        (b"%PDF-1.7\n", "PDF"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg/>', "SVG"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "HTML"),
        (b"\xef\xbb\xbf\n <HTML>", "HTML"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"P6 2 2 255\n" + bytes(12), "PNM"),
        (b"\0\0\1\0\1\0" + bytes(30), "ICO"),
        (b"\0\0\0\x18ftypisom" + bytes(30), "video"),
        (b"PK\x03\x04" + bytes(30), "ZIP"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_on_the_list_is_refused_by_the_name_of_what_it_is(data: bytes, name: str):
    with pytest.raises(ImageError, match="whatever its name is; formats that are decoded: JPEG, PNG") as caught:
        open_image(data)
    assert (caught.value.stage, caught.value.error_type) == ("decode", "FormatNotAllowed")
    assert f"it looks like {name}" in str(caught.value).replace("a video", "video")


@pytest.mark.parametrize("kind", ["PPM", "ICO", "TGA", "EPS", "PCX", "SGI", "IM", "DDS", "ICNS", "JPEG2000", "QOI"])
def test_what_pillow_would_open_is_refused_all_the_same(encode: Encode, kind: str):
    data = encode(kind)
    with pytest.raises(ImageError) as caught:
        open_image(data)
    assert caught.value.error_type in {"FormatNotAllowed", "NotAnImage"}


def test_a_photograph_that_holds_another_is_one_photograph(encode: Encode):
    both = encode("MPO", save_all=True, append_images=[Image.new("RGB", (9, 9), "red")])
    with open_image(both) as image:
        assert (image.format, image.size) == ("MPO", (64, 48))


def test_heic_is_named_where_the_package_for_it_is_not_installed(encode: Encode, tmp_path):
    (tmp_path / "a.heic").write_bytes(encode("HEIF"))
    script = (
        "import sys; sys.modules['pillow_heif'] = None; from pathlib import Path;"
        f"from pipeline.preprocessing.decode import decode; decode(Path({str(tmp_path / 'a.heic')!r}).read_bytes())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "it looks like HEIC, which needs the package pillow-heif" in done.stderr


@pytest.mark.parametrize(
    ("size", "error_type"), [((0, 5), "NoPixels"), ((5, 0), "NoPixels"), ((11, 10), "ImageTooLarge")]
)
def test_a_size_is_refused_by_its_header(size: tuple[int, int], error_type: str):
    with pytest.raises(ImageError, match=f"{size[0]} x {size[1]} pixels") as caught:
        require_size(Image.new("RGB", size), 109)
    assert caught.value.error_type == error_type
    require_size(Image.new("RGB", (11, 10)), 110)


def test_a_process_that_only_decodes_is_limited_as_a_whole():
    script = (
        "import io; from PIL import AvifImagePlugin, Image; from pipeline.preprocessing.formats import *;"
        "limit_process(100); print(Image.MAX_IMAGE_PIXELS, AvifImagePlugin.DEFAULT_MAX_THREADS)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["100", "1"]


def test_only_the_header_is_read(encode: Encode, noise: Image.Image):
    stream = io.BytesIO(encode("PNG", noise))
    with open_image(stream.getvalue()[:60]) as image:
        assert image.size == (64, 48)

"""Small files that unpack to much: refused by their headers, and the decoder's memory stays where it was."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pipeline
from pipeline.errors import ImageError
from pipeline.preprocessing.isolation import IsolatedDecoder
from tests.preprocessing.conftest import encode, pixels_HWC  # noqa: F401  fixtures
from tests.preprocessing.forged import flat_jpeg, gif, gif_frame, png, png_chunk, tiff

SIDE_PX = 64
ALLOWED_BYTES = 300e6


def memory_of(pid: int, field: str) -> int:
    """Resident bytes now (VmRSS), or at their peak (VmHWM)."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields[field].split()[0]) * 1024


@pytest.fixture(scope="module")
def decoder() -> Iterator[IsolatedDecoder]:
    decoder = IsolatedDecoder(side_px=SIDE_PX)
    decoder.decode_into(png((2, 1), [bytes(6)]), decoder.slots(1), 0)
    yield decoder
    decoder.close()


@pytest.fixture(scope="module")
def idle_bytes(decoder: IsolatedDecoder) -> int:
    return memory_of(decoder.pid, "VmRSS")


def zeros(num_mib: int) -> bytes:
    """The beginning of a zlib stream of that many MiB of zeros, about a thousandth as long."""
    packer = zlib.compressobj(9)
    first = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + again * (num_mib - 1)


def with_chunk(*chunks: bytes) -> bytes:
    return png((2, 1), [bytes(6)], chunks=chunks)


def webp(width: int, height: int) -> bytes:
    """An animation whose canvas is of any size; of its frame there is only the head."""
    canvas = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + canvas + b"ANIM" + struct.pack("<IIH", 6, 0, 0)
    frame = bytes(12) + b"\x64\0\0\0" + b"VP8L" + struct.pack("<I", 5) + b"\x2f\0\0\0\0\0"
    body += b"ANMF" + struct.pack("<I", len(frame)) + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


LARGE, TEXT, BROKEN = {"ImageTooLarge"}, {"MetadataTooLarge"}, {"DamagedImage", "TruncatedImage", "NotAnImage"}
TINY = {256: 2, 257: 1, 258: 8}
BOMBS = {
    "PNG of 10,000 x 10,000": (png((10_000, 10_000)), LARGE),
    "PNG of 60,000 x 60,000": (png((60_000, 60_000)), LARGE),
    "PNG of 8,000 x 8,000, allowed, of which nothing is there": (png((8_000, 8_000)), BROKEN),
    "zTXt of 1 GiB": (with_chunk(png_chunk(b"zTXt", b"a\0\0" + zeros(1024))), TEXT),
    "iTXt of 1 GiB": (with_chunk(png_chunk(b"iTXt", b"a\0\1\0\0\0" + zeros(1024))), TEXT),
    "iCCP of 1 GiB": (with_chunk(png_chunk(b"iCCP", b"a\0\0" + zeros(1024))), TEXT),
    "100 texts of 1 MB": (
        with_chunk(*(png_chunk(b"zTXt", b"a%d\0\0" % n + zlib.compress(bytes(10**6))) for n in range(100))),
        TEXT,
    ),
    "JPEG of 65,500 x 65,500": (flat_jpeg([1, 2, 3], size=(65_500, 65_500)), LARGE),
    "GIF of 65,535 x 65,535": (gif((65_535, 65_535), [gif_frame((0, 0, 1, 1), 1)]), LARGE),
    "WebP of 16,384 x 16,384": (webp(16_384, 16_384), LARGE),
    "WebP of 65,535 x 65,535": (webp(65_535, 65_535), LARGE | BROKEN),
    "BMP of 2 x 2^31": (
        b"BM" + struct.pack("<IIIIiiHHIIIIII", 58, 0, 54, 40, 2, -(2**31), 1, 24, *[0] * 6),
        LARGE | BROKEN,
    ),
    "TIFF of 2^31 x 2^31": (tiff({256: 2**31, 257: 2**31, 258: 8}, b"\0"), LARGE | BROKEN),
    "TIFF of 2^32-1 rows": (tiff({256: 2, 257: 2**32 - 1, 258: 8}, b"\0"), LARGE | BROKEN),
    "TIFF whose pixels are at -8": (tiff({**TINY, 273: 2**32 - 8, 279: 2}), BROKEN),
    "TIFF with a strip of 4 GiB": (tiff({**TINY, 279: 2**32 - 1, 259: 5}, b"\0"), BROKEN),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_and_takes_no_memory(decoder: IsolatedDecoder, idle_bytes: int, name: str):
    data, error_types = BOMBS[name]
    pid = decoder.pid
    with pytest.raises(ImageError) as caught:
        decoder.decode_into(data, decoder.slots(1), 0)
    assert caught.value.error_type in error_types, caught.value
    taken_bytes = memory_of(pid, "VmHWM") - idle_bytes
    assert taken_bytes < ALLOWED_BYTES, f"{taken_bytes / 1e6:.0f} MB for {len(data)} bytes"
    assert decoder.pid == pid, "it took its decoder down"


def test_nor_do_ten_thousand_frames_of_which_one_is_asked_for(decoder: IsolatedDecoder, idle_bytes: int):
    data, slots = gif((2, 2), [gif_frame((0, 0, 2, 2), 1)] * 10_000), decoder.slots(1)
    decoder.decode_into(data, slots, 0)
    assert memory_of(decoder.pid, "VmHWM") - idle_bytes < ALLOWED_BYTES
    np.testing.assert_array_equal(slots.pixels_NCHW[0], pipeline.preprocess(data, SIDE_PX).numpy())


@pytest.mark.parametrize("follows", [8, 2**32 - 1, 2**31])
def test_nor_does_a_chain_of_pages_without_an_end(decoder: IsolatedDecoder, idle_bytes: int, follows: int):
    found = decoder.decode_into(tiff(TINY, b"\x11\x22", follows=follows), decoder.slots(1), 0)
    assert (found.height, found.width) == (1, 2)
    assert memory_of(decoder.pid, "VmHWM") - idle_bytes < ALLOWED_BYTES


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_nor_do_boxes_that_claim_a_larger_image(decoder: IsolatedDecoder, idle_bytes: int, encode, kind: str):  # noqa: F811
    data = bytearray(encode(kind, Image.new("RGB", (64, 48))))
    place = -1
    while (place := data.find(b"ispe", place + 1)) >= 0:
        data[place + 8 : place + 16] = struct.pack(">II", 30_000, 30_000)
    with pytest.raises(ImageError) as caught:
        decoder.decode_into(bytes(data), decoder.slots(1), 0)
    assert caught.value.error_type in LARGE | BROKEN, caught.value
    assert memory_of(decoder.pid, "VmHWM") - idle_bytes < ALLOWED_BYTES


def test_jpeg_lines_that_are_wider_than_their_tile_write_nowhere(decoder: IsolatedDecoder):
    """A TIFF of 2 pixels a line, whose strip is a JPEG of 2,000: the fault that Pillow 13 mended."""
    inside = flat_jpeg([1, 2, 3], size=(2_000, 8))
    entries = {256: 2, 257: 8, 258: (8, 8, 8), 259: 7, 262: 6, 277: 3, 278: 8}
    pid = decoder.pid
    with pytest.raises(ImageError) as caught:
        decoder.decode_into(tiff(entries, inside), decoder.slots(1), 0)
    assert caught.value.error_type in BROKEN, caught.value
    assert decoder.pid == pid

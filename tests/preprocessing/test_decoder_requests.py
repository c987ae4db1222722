"""Requests: a part of an image comes out as the pixels that it names, ready for the encoder."""

import numpy as np
import pytest
from PIL import Image

import pipeline
from pipeline.errors import ImageError
from pipeline.featureset.part import Part
from pipeline.preprocessing.decode import decode
from pipeline.preprocessing.decoder_requests import prepare, probe
from pipeline.preprocessing.pixel_rules import USUAL
from pipeline.preprocessing.served_file import ServedFile, served_bytes
from tests.preprocessing.conftest import Encode
from tests.videos import make_video


def test_a_whole_image_is_prepared_as_preprocess_does_whoever_reads_its_bytes(encode: Encode):
    data = encode("PNG")
    served = ServedFile("key", len(data), lambda start, end: data[start:end])
    for source in (data, served, served):
        prepared = prepare(source, Part(), side_px=32)
        np.testing.assert_array_equal(prepared.pixels_CHW, pipeline.preprocess(data, 32).numpy())
        assert prepared.size == (48, 64)
        assert prepared.seconds.keys() == {"decode", "resize"}


def test_a_video_is_probed_for_times_and_gives_the_frame_of_one():
    data = make_video()
    served = ServedFile("key", len(data), lambda start, end: data[start:end])
    times = probe(served, "video", USUAL)["pts"]
    first, last = (prepare(served, Part(video_frame=each, pts=times[each]), side_px=32) for each in (0, -1))
    assert first.size == last.size == (48, 64)
    assert first.pixels_CHW.shape == (3, 32, 32)
    assert not np.array_equal(first.pixels_CHW, last.pixels_CHW)


def test_a_box_and_a_page_are_prepared_as_preprocess_prepares_their_pixels(encode: Encode, pixels_HWC: np.ndarray):
    pages = [Image.fromarray(pixels_HWC), Image.fromarray(pixels_HWC[::-1].copy())]
    tiff, jpeg = encode("TIFF", pages[0], save_all=True, append_images=pages[1:]), encode("JPEG")
    for data, part, expected in (
        (tiff, Part(box=(10, 20, 30, 28)), pixels_HWC[20:48, 10:40]),
        (tiff, Part(page=1), pixels_HWC[::-1]),
        (jpeg, Part(box=(3, 0, 5, 48)), decode(jpeg)[:, 3:8]),
    ):
        for source in (data, served_bytes(data)):
            prepared = prepare(source, part, side_px=32)
            np.testing.assert_array_equal(prepared.pixels_CHW, pipeline.preprocess(expected, 32).numpy())
            assert prepared.size == expected.shape[:2]


def test_an_image_is_opened_once_for_all_its_boxes(encode: Encode):
    data = encode("PNG")
    source = served_bytes(data)
    prepare(source, Part(box=(0, 0, 8, 8)), side_px=8)
    opened = source.opened
    prepare(source, Part(box=(8, 0, 8, 8)), side_px=8)
    assert source.opened is opened is not None


def test_sizes_and_frames_are_found_out(encode: Encode, pixels_HWC: np.ndarray):
    exif, moving = Image.Exif(), encode("GIF", save_all=True, append_images=[Image.fromarray(pixels_HWC[::-1].copy())])
    exif[274] = 6
    for data, size in ((encode("JPEG", exif=exif), (64, 48, 6)), (moving, (48, 64, 1))):
        for source in (data, served_bytes(data)):
            assert probe(source, "size", USUAL) == dict(zip(("height", "width", "orientation"), size, strict=True))
    assert [probe(data, "frames", USUAL) for data in (moving, encode("PNG"))] == [2, 1]
    asked: list[tuple[int, int]] = []
    long = encode("JPEG") + bytes(3 << 20)
    photograph = ServedFile("", len(long), lambda start, end: asked.append((start, end)) or long[start:end])
    assert probe(photograph, "frames", USUAL) == 1
    assert asked == [(0, 1 << 20)], "of a JPEG the beginning is enough"
    for kind in ("size", "frames"):
        with pytest.raises(ImageError):
            probe(b"<!doctype html>", kind, USUAL)

"""Requests: a part of an image comes out as the pixels that it names, ready for the encoder."""

import numpy as np

import pipeline
from pipeline.featureset.part import Part
from pipeline.preprocessing.decoder_requests import prepare, probe
from pipeline.preprocessing.served_file import ServedFile
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
    times = probe(served, "video")["pts"]
    first, last = (prepare(served, Part(video_frame=each, pts=times[each]), 32) for each in (0, -1))
    assert first.size == last.size == (48, 64)
    assert first.pixels_CHW.shape == (3, 32, 32)
    assert not np.array_equal(first.pixels_CHW, last.pixels_CHW)

"""Requests: a part of an image comes out as the pixels that it names, ready for the encoder."""

import numpy as np

import pipeline
from pipeline.featureset.part import Part
from pipeline.preprocessing.decoder_requests import prepare
from pipeline.preprocessing.served_file import ServedFile
from tests.preprocessing.conftest import Encode


def test_a_whole_image_is_prepared_as_preprocess_does_whoever_reads_its_bytes(encode: Encode):
    data = encode("PNG")
    served = ServedFile("key", len(data), lambda start, end: data[start:end])
    for source in (data, served, served):
        prepared = prepare(source, Part(), side_px=32)
        np.testing.assert_array_equal(prepared.pixels_CHW, pipeline.preprocess(data, 32).numpy())
        assert prepared.size == (48, 64)
        assert prepared.seconds.keys() == {"decode", "resize"}

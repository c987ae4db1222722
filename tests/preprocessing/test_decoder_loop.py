"""What runs in the decoder process: its messages in order, its limits, and its end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import pipeline
from pipeline.preprocessing.decoder_channel import Channel
from pipeline.preprocessing.shared_memory import PixelMemory, file_of
from tests.preprocessing.conftest import Encode

RULES = {"background": [0, 0, 0], "max_pixels": 10_000}
START = f"from pipeline.preprocessing.decoder_loop import main; main(side_px=40, memory_bytes=2**28, rules={RULES})"


@pytest.fixture(scope="module")
def looping():
    """A process that runs the loop, ready, and the channel to it."""
    channel = Channel()
    with subprocess.Popen([sys.executable, "-c", START], stdin=channel.their_socket) as process:
        channel.close_theirs()
        assert channel.receive(60) == {"kind": "ready"}
        yield channel, process
        channel.close()
        assert process.wait(10) == 0, "it did not end by itself when its parent went"


def test_it_says_begun_then_decoded_and_the_pixels_are_in_their_place(looping, encode: Encode):
    channel, _ = looping
    slots = PixelMemory(40).slots(2)
    with file_of(encode("PNG")) as encoded:
        channel.send({"part": None, "offset_bytes": slots.slot_bytes}, (encoded, slots.handle))
        assert channel.receive(10) == {"kind": "begun"}
        answer = channel.receive(10)
    assert (answer["kind"], answer["height"], answer["width"]) == ("decoded", 48, 64)
    assert all(seconds > 0 for seconds in answer["seconds"].values())
    assert set(answer["seconds"]) == {"decode", "resize"}
    np.testing.assert_array_equal(slots.pixels_NCHW[1], pipeline.preprocess(encode("PNG"), 40).numpy())


def test_the_same_file_can_be_read_again(looping, encode: Encode):
    """As after a crash in the midst of reading."""
    channel, _ = looping
    slots = PixelMemory(40).slots(1)
    with file_of(encode("PNG")) as encoded:
        for _ in range(2):
            channel.send({"part": None, "offset_bytes": 0}, (encoded, slots.handle))
            assert [channel.receive(10)["kind"] for _ in range(2)] == ["begun", "decoded"]


def test_it_keeps_no_file_open(looping):
    channel, process = looping
    slots = PixelMemory(40).slots(1)
    handles = Path(f"/proc/{process.pid}/fd")
    before = len(list(handles.iterdir()))
    for data in (b"no image", b""):
        with file_of(data) as encoded:
            channel.send({"part": None, "offset_bytes": 0}, (encoded, slots.handle))
            assert [channel.receive(10)["kind"] for _ in range(2)] == ["begun", "refused"]
    until = time.monotonic() + 10
    while len(list(handles.iterdir())) != before:  # after an answer it looks at its own size once more
        assert time.monotonic() < until, [str(each.readlink()) for each in handles.iterdir()]


def test_it_has_limits_and_neither_ray_nor_an_ear_for_interrupts(looping):
    _, process = looping
    place = Path(f"/proc/{process.pid}")
    limits = {line[:26].strip(): line[26:].split()[:2] for line in (place / "limits").read_text().splitlines()}
    assert limits["Max core file size"] == ["0", "0"]
    used = int((place / "statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    assert used < int(limits["Max address space"][0]) < used + 2**29
    assert "_raylet" not in (place / "maps").read_text()
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.2)

"""Isolation: pixels are those of `preprocess`, poison is refused by its kind, and no other image pays for it."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import pipeline
from pipeline.errors import ImageError, StoreUnavailableError
from pipeline.preprocessing.isolation import IsolatedDecoder
from tests import poison
from tests.preprocessing.conftest import Encode

SIDE_PX = 64
MEMORY_BYTES = 2**28


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IsolatedDecoder]:
    """One for all tests: that they follow each other is part of what is tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(poison.plugin_folder(tmp_path_factory.mktemp("plugin"))))
        decoder = IsolatedDecoder(side_px=SIDE_PX, timeout_s=30, memory_bytes=MEMORY_BYTES)
        yield decoder
        decoder.close()


def decode(decoder: IsolatedDecoder, data: bytes) -> np.ndarray:
    slots = decoder.slots(1)
    decoder.decode_into(data, slots, 0)
    return slots.pixels_NCHW[0]


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_the_parent_can_do_without_all_that_parses_images():
    script = "import sys, pipeline.preprocessing.isolation; sys.exit(len({'torch', 'PIL', 'ray'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP"])
def test_pixels_are_those_of_preprocess_bit_for_bit(decoder: IsolatedDecoder, encode: Encode, kind: str):
    np.testing.assert_array_equal(decode(decoder, encode(kind)), pipeline.preprocess(encode(kind), SIDE_PX).numpy())


@pytest.mark.parametrize("size", [(SIDE_PX, SIDE_PX), (1, 1), (1, 65_535), (65_535, 1), (1601, 1203)])
def test_so_they_are_at_every_size(decoder: IsolatedDecoder, encode: Encode, noise: Image.Image, size: tuple[int, int]):
    data = encode("PNG" if 65_535 in size else "JPEG", noise.resize(size))
    np.testing.assert_array_equal(decode(decoder, data), pipeline.preprocess(data, SIDE_PX).numpy())


def test_a_unit_is_one_array_that_arrow_takes_as_it_is(decoder: IsolatedDecoder, encode: Encode, noise: Image.Image):
    slots = decoder.slots(3)
    pictures = [encode("PNG"), encode("PNG", noise)]
    for place, data in enumerate(pictures):
        found = decoder.decode_into(data, slots, place)
        assert (found.height, found.width) == (48, 64)
        assert set(found.seconds) == {"decode", "resize"}
    pixels_NCHW = slots.pixels_NCHW[:2]
    assert pa.py_buffer(pixels_NCHW).address == slots.pixels_NCHW.ctypes.data
    expected = np.stack([pipeline.preprocess(data, SIDE_PX).numpy() for data in pictures])
    np.testing.assert_array_equal(pixels_NCHW, expected)
    with pytest.raises(IndexError, match="place 3 of 3"):
        decoder.decode_into(pictures[0], slots, 3)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: b"",
        lambda _: b"just some text, no image\n",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-400] + bytes(400),
    ],
    ids=["empty", "text", "truncated", "damaged"],
)
def test_a_bad_image_is_refused_as_decode_refuses_it_and_the_child_lives_on(
    decoder: IsolatedDecoder, encode: Encode, noise: Image.Image, spoil
):
    data, pid = spoil(encode("PNG", noise)), decoder.pid
    with pytest.raises(ImageError) as expected:
        pipeline.preprocess(data, SIDE_PX)
    with pytest.raises(ImageError) as caught:
        decode(decoder, data)
    assert str(caught.value) == str(expected.value)
    assert vars(caught.value) == vars(expected.value)
    assert decoder.pid == pid


def test_refusing_takes_no_time_worth_speaking_of(decoder: IsolatedDecoder, encode: Encode):
    decode(decoder, encode("PNG"))
    began = time.monotonic()
    for _ in range(30):
        with pytest.raises(ImageError, match="0 bytes"):
            decode(decoder, b"")
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("data", "error_type", "says"),
    [
        (poison.ABORT, "DecoderCrashed", "died of SIGABRT"),
        (poison.SEGV, "DecoderCrashed", "died of SIGSEGV"),
        (poison.LIES, "DecoderCrashed", "an answer that makes no sense"),
        (poison.GREEDY, "DecoderCrashed", "an answer that makes no sense"),
        (poison.EAT, "DecodeMemory", f"{MEMORY_BYTES} bytes (0.2 GiB)"),
        (poison.EAT_IN_CPP, "DecodeMemory", f"{MEMORY_BYTES} bytes (0.2 GiB)"),
    ],
    ids=["abort", "segv", "lies", "greedy", "eat", "bad_alloc"],
)
def test_poison_is_refused_by_its_kind_and_its_neighbours_are_unharmed(
    decoder: IsolatedDecoder, encode: Encode, data: bytes, error_type: str, says: str
):
    slots, before_bytes = decoder.slots(2), resident_bytes()
    decoder.decode_into(encode("PNG"), slots, 0)
    with pytest.raises(ImageError) as caught:
        decoder.decode_into(data, slots, 1)
    pid = decoder.pid
    decoder.decode_into(encode("JPEG"), slots, 1)
    assert decoder.pid == pid, "the next image had to wait for another child"
    assert _is_the_images_fault(caught.value, error_type, says)
    expected = [pipeline.preprocess(encode(kind), SIDE_PX).numpy() for kind in ("PNG", "JPEG")]
    np.testing.assert_array_equal(slots.pixels_NCHW, np.stack(expected))
    assert resident_bytes() - before_bytes < 50e6


def test_an_image_that_hangs_is_given_up_and_its_neighbours_are_unharmed(decoder: IsolatedDecoder, encode: Encode):
    assert decoder.pid  # its plugin is the other's too
    impatient = IsolatedDecoder(side_px=SIDE_PX, timeout_s=1)
    decode(impatient, encode("PNG"))
    with pytest.raises(ImageError) as caught:
        decode(impatient, poison.HANG)
    decode(impatient, encode("PNG"))
    impatient.close()
    assert _is_the_images_fault(caught.value, "DecodeTimeout", "not decoded within 1 s")


def test_who_fails_only_once_is_not_blamed(decoder: IsolatedDecoder, tmp_path: Path):
    pid, num_replaced = decoder.pid, decoder.num_replaced
    assert np.isfinite(decode(decoder, poison.crash_once(tmp_path / "crashed"))).all()
    assert (tmp_path / "crashed").exists()
    assert decoder.pid != pid
    assert decoder.num_replaced == num_replaced + 1


def test_two_ends_of_two_kinds_are_both_told(decoder: IsolatedDecoder, tmp_path: Path):
    stopper = threading.Thread(target=_kill_when, args=(decoder, tmp_path / "begun", signal.SIGBUS))
    stopper.start()
    with pytest.raises(ImageError, match=r"twice: its decoder died of SIGBUS; then its decoder ended with exit code 3"):
        decode(decoder, poison.hang_once_then_exit(tmp_path / "begun"))
    stopper.join()


def test_a_child_killed_from_outside_costs_no_image(decoder: IsolatedDecoder, encode: Encode, tmp_path: Path):
    decode(decoder, encode("PNG"))
    pid = decoder.pid
    os.kill(pid, signal.SIGKILL)
    np.testing.assert_array_equal(decode(decoder, encode("PNG")), pipeline.preprocess(encode("PNG"), SIDE_PX).numpy())
    assert decoder.pid != pid
    pid = decoder.pid
    killer = threading.Thread(target=_kill_when, args=(decoder, tmp_path / "begun", signal.SIGKILL))
    killer.start()
    assert np.isfinite(decode(decoder, poison.hang_once(tmp_path / "begun"))).all()
    killer.join()
    assert decoder.pid != pid


def test_what_an_image_leaves_behind_is_not_kept_for_long(decoder: IsolatedDecoder, encode: Encode):
    pid = decoder.pid
    decode(decoder, poison.LEAK)
    decode(decoder, encode("PNG"))
    assert decoder.pid != pid


def test_children_that_always_end_before_they_begin_are_told_as_that(tmp_path: Path, monkeypatch, encode: Encode):
    (tmp_path / "sitecustomize.py").write_text("import os; os.abort()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    decoder = IsolatedDecoder(side_px=SIDE_PX)
    with pytest.raises(RuntimeError, match="none of 5 decoder processes lived to begin an image; the last died of SIG"):
        decode(decoder, encode("PNG"))
    decoder.close()


def test_closing_ends_the_child_and_decoding_starts_another(decoder: IsolatedDecoder, encode: Encode):
    pid = decoder.pid
    decoder.close()
    decoder.close()
    assert not Path(f"/proc/{pid}").exists()
    decode(decoder, encode("PNG"))
    assert decoder.pid != pid


def _is_the_images_fault(error: ImageError, error_type: str, says: str) -> bool:
    assert (error.stage, error.error_type, error.error_class) == ("decode", error_type, "permanent")
    return all(words in str(error) for words in ("tried twice, and both times", says, "encode it anew"))


def _kill_when(decoder: IsolatedDecoder, marker: Path, number: signal.Signals) -> None:
    until = time.monotonic() + 20
    while not marker.exists() and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(decoder.pid, number)


class Ranges:
    """A file in memory, read as the parent reads one; `fails` is raised from the read of that number on."""

    def __init__(self, data: bytes, fails: tuple[int, Exception] | None = None) -> None:
        self.data, self.key, self.size_bytes, self.fails = data, f"{zlib.crc32(data)}", len(data), fails
        self.asked: list[tuple[int, int]] = []

    def read(self, start: int, end: int) -> bytes:
        self.asked.append((start, end))
        if self.fails and len(self.asked) >= self.fails[0]:
            raise self.fails[1]
        return self.data[start:end]


def test_a_file_that_is_read_through_the_parent_gives_the_same_pixels(decoder: IsolatedDecoder, noise: Image.Image):
    large = noise.resize((900, 700), Image.Resampling.NEAREST)
    stream = io.BytesIO()
    large.save(stream, "BMP")
    reader, slots = Ranges(stream.getvalue()), decoder.slots(2)
    decoded = decoder.decode_into(reader, slots, 0)
    decoder.decode_into(stream.getvalue(), slots, 1)
    decoder.decode_into(reader, slots, 1)
    assert (decoded.height, decoded.width) == (700, 900)
    np.testing.assert_array_equal(slots.pixels_NCHW[0], slots.pixels_NCHW[1])
    assert reader.asked == [(0, 2**20), (2**20, len(reader.data))]


def test_what_the_reader_raises_leaves_as_it_is_and_the_next_image_is_decoded(decoder: IsolatedDecoder, encode: Encode):
    slots = decoder.slots(1)
    with pytest.raises(StoreUnavailableError, match="in trouble"):
        decoder.decode_into(Ranges(encode("PNG"), fails=(1, StoreUnavailableError("in trouble"))), slots, 0)
    assert decoder.decode_into(Ranges(encode("PNG")), slots, 0).width == 64


def test_time_that_the_store_takes_is_not_the_images(encode: Encode):
    class Slow(Ranges):
        def read(self, start: int, end: int) -> bytes:
            time.sleep(1.5)
            return super().read(start, end)

    decoder = IsolatedDecoder(side_px=32, timeout_s=1)
    assert decoder.decode_into(Slow(encode("PNG")), decoder.slots(1), 0).height == 48
    decoder.close()

"""A decoder process seen by its parent: how it starts and ends, what it inherits, and that it never outlives it."""

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import pipeline
from pipeline.errors import ImageError
from pipeline.preprocessing.decoder_process import Decoded, DecoderLostError, DecoderProcess, NotBegunError
from pipeline.preprocessing.shared_memory import PixelMemory, file_of
from tests import poison
from tests.preprocessing.conftest import Encode

SLOTS = PixelMemory(32).slots(1)
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "hidden-1",
    "GOOGLE_APPLICATION_CREDENTIALS": "hidden-2",
    "AZURE_STORAGE_KEY": "hidden-3",
    "RAY_AUTH_TOKEN": "hidden-4",
    "HF_TOKEN": "hidden-5",
    "DATABASE_URL": "hidden-6",
}


def wait_for(condition: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def decode(process: DecoderProcess, data: bytes, timeout_s: float = 30) -> Decoded:
    with file_of(data) as encoded:
        return process.decode(encoded, (SLOTS.handle, 0), timeout_s=timeout_s)


@contextmanager
def started():
    process = DecoderProcess(side_px=32, memory_bytes=2**28)
    yield process
    process.close()


@pytest.fixture
def process():
    """One to be ended."""
    with started() as process:
        yield process


@pytest.fixture(scope="module")
def lasting(plugin: Path):  # noqa: ARG001  it inherits what that sets
    """One that lives on from test to test."""
    with started() as process:
        yield process


@pytest.fixture(scope="module", autouse=True)
def plugin(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        folder = poison.plugin_folder(tmp_path_factory.mktemp("plugin"))
        for name, value in {**SECRETS, "PYTHONPATH": str(folder)}.items():
            patch.setenv(name, value)
        yield folder


def test_it_is_not_waited_for_until_it_is_used(encode: Encode):
    began = time.monotonic()
    with started() as process:
        made = time.monotonic()
        found = decode(process, encode("JPEG"))
        assert made - began < 0.5 * (time.monotonic() - made)
    assert (found.height, found.width) == (48, 64)
    np.testing.assert_array_equal(SLOTS.pixels_NCHW[0], pipeline.preprocess(encode("JPEG"), 32).numpy())


def test_it_inherits_what_it_needs_and_no_secret(lasting: DecoderProcess, encode: Encode, plugin: Path):
    decode(lasting, encode("PNG"))
    place = Path(f"/proc/{lasting.pid}")
    environment = (place / "environ").read_text()
    assert "hidden" not in environment + (place / "cmdline").read_text()
    assert [name for name in SECRETS if name in environment] == []
    assert f"PYTHONPATH={plugin}" in environment.split("\0")
    assert len(list((place / "task").iterdir())) == 1, "threads that nobody needs"


def test_one_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encode: Encode):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['torch'] = None")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with started() as process, pytest.raises(RuntimeError, match="cannot start: it ended with exit code 1") as caught:
        decode(process, encode("PNG"))
    assert "import of torch halted" in str(caught.value)


def test_one_that_was_killed_before_it_began_blames_no_image(process: DecoderProcess, encode: Encode):
    """Here even before it was ready."""
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(NotBegunError, match="died of SIGKILL, as when the machine runs out of memory"):
        decode(process, encode("PNG"))
    assert not process.is_open
    with pytest.raises(NotBegunError, match="closed"):
        decode(process, encode("PNG"))


def test_one_that_is_stopped_between_images_blames_no_image(process: DecoderProcess, encode: Encode):
    decode(process, encode("PNG"))
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(NotBegunError, match=r"did not answer for 0\.2 s"):
        decode(process, encode("PNG"), timeout_s=0.2)
    assert is_gone(process.pid)


def test_a_bug_is_told_with_its_traceback_and_is_no_image_error(lasting: DecoderProcess, encode: Encode):
    with pytest.raises(RuntimeError, match="not of the image") as caught:
        decode(lasting, poison.NO_COLOURS)
    assert not isinstance(caught.value, ImageError)
    assert "in normalise" in str(caught.value)
    decode(lasting, encode("PNG"))


def test_what_it_prints_neither_holds_it_up_nor_reaches_the_terminal(
    process: DecoderProcess, capfd: pytest.CaptureFixture[str]
):
    decode(process, poison.CHATTER)
    with pytest.raises(DecoderLostError) as caught:
        decode(process, poison.LAST_WORDS)
    assert str(caught.value) == "its decoder died of SIGABRT, last saying 'free(): invalid pointer'"
    assert capfd.readouterr() == ("", "")


def test_after_an_interrupt_no_image_gets_the_answer_to_another(process: DecoderProcess, encode: Encode):
    class InterruptError(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise InterruptError

    decode(process, encode("PNG"))
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(InterruptError):
            decode(process, poison.HANG)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not process.is_open
    assert is_gone(process.pid)


def test_one_that_is_closed_or_that_nobody_holds_any_more_is_gone():
    with started() as process:
        closed = process.pid
    dropped = DecoderProcess(side_px=32, memory_bytes=2**28)
    pid = dropped.pid
    del dropped
    gc.collect()
    assert is_gone(closed)
    assert is_gone(pid)


def test_it_dies_with_its_parent_even_while_it_hangs(tmp_path: Path):
    marker = tmp_path / "hanging"
    script = f"""
from tests import poison
from tests.preprocessing.test_decoder_process import DecoderProcess, decode, Path
process = DecoderProcess(side_px=32, memory_bytes=2**28)
print(process.pid, flush=True)
decode(process, poison.hang_once(Path({str(marker)!r})), timeout_s=1000)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        wait_for(marker.exists, "it never began")
        assert not is_gone(pid)
        parent.kill()
    wait_for(lambda: is_gone(pid), "it outlived its parent")

"""Being told to stop: an error that ends the run in order, in whatever the main thread is doing, as often as told."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from pipeline.errors import RunDrainedError
from pipeline.execution.stopping import draining, stop_on_sigterm

WAITER = """
import sys, time
from pipeline.errors import RunDrainedError
from pipeline.execution.stopping import stop_on_sigterm
stop_on_sigterm()
try:
    print("waiting", flush=True)
    time.sleep(100)
except RunDrainedError as error:
    try:
        print("drained", flush=True)
        time.sleep(100)
    except RunDrainedError as again:
        sys.exit(again.exit_code)
"""


@pytest.fixture(autouse=True)
def old_handler() -> Iterator[None]:
    """Gives the signal back to whoever had it."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def test_sigterm_becomes_an_error_every_time():
    stop_on_sigterm()
    for _ in range(3):
        with pytest.raises(RunDrainedError, match="run the same command again to continue") as caught:
            signal.raise_signal(signal.SIGTERM)
    assert caught.value.exit_code == 143


def test_a_process_that_waits_is_told_at_once_and_told_again_while_it_drains():
    waiter = subprocess.Popen([sys.executable, "-c", WAITER], stdout=subprocess.PIPE, text=True)
    for said in ("waiting", "drained"):
        assert waiter.stdout.readline() == f"{said}\n"
        waiter.send_signal(signal.SIGTERM)
    waiter.communicate(timeout=30)
    assert waiter.returncode == 143


def test_draining_goes_on_beside_the_work_and_ends_it_when_it_is_done():
    is_asked, done = threading.Event(), []

    def drain() -> None:
        is_asked.set()
        time.sleep(0.2)  # while the block below works
        done.append("drained")

    with pytest.raises(RunDrainedError), draining(drain):  # noqa: PT012  raised in the last line
        signal.raise_signal(signal.SIGTERM)
        assert is_asked.wait(30)
        done.append("worked on")
        time.sleep(30)
    assert done == ["worked on", "drained"]


def test_work_that_ends_while_it_drains_is_drained_too():
    done = []
    with pytest.raises(RunDrainedError), draining(lambda: (time.sleep(0.2), done.append("drained"))):
        signal.raise_signal(signal.SIGTERM)
    assert done == ["drained"]


def test_whoever_cannot_wait_for_it_says_so_again_and_hears_no_more_of_it():
    is_over, done = threading.Event(), threading.Event()

    def drain() -> None:
        is_over.wait(30)
        done.set()

    with pytest.raises(RunDrainedError), draining(drain):  # noqa: PT012  raised in the last line
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert not done.is_set(), "the error is there before draining is done"
    is_over.set()
    assert done.wait(30)
    time.sleep(0.2)  # an error of the thread's would come now


def test_nothing_is_drained_without_a_signal_and_after_the_block_it_is_an_error_at_once():
    done = []
    with draining(lambda: done.append("drained")):
        pass
    with pytest.raises(RunDrainedError):
        signal.raise_signal(signal.SIGTERM)
    assert done == []

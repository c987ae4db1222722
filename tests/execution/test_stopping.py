"""Being told to stop: an error that ends the run in order, in whatever the main thread is doing, as often as told."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pipeline.errors import RunDrainedError
from pipeline.execution.stopping import stop_on_sigterm

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

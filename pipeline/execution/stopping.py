"""Being told to stop: SIGTERM becomes an error that ends the run in order, after what has to be done before that."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from pipeline.errors import RunDrainedError


def stop_on_sigterm() -> None:
    """From now on SIGTERM raises RunDrainedError in the main thread, the second one too."""
    signal.signal(signal.SIGTERM, _stop)


@contextmanager
def draining(drain: Callable[[], None]) -> Iterator[None]:
    """Inside the block SIGTERM begins to drain, and raises RunDrainedError when that is done; another one, at once.

    An error in the midst of Ray Data's own code would end the encoders with the units they hold. So `drain` runs in a
    thread beside what the block does, and the block goes on meanwhile.
    """
    begun: list[threading.Thread] = []
    is_left = threading.Event()

    def work() -> None:
        try:
            drain()
        finally:
            if not is_left.is_set():
                os.kill(os.getpid(), signal.SIGTERM)

    def begin(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  the shape signal handlers have
        stop_on_sigterm()
        begun.append(threading.Thread(target=work, name="drain", daemon=True))
        begun[0].start()

    signal.signal(signal.SIGTERM, begin)
    try:
        yield
        for thread in begun:
            thread.join()  # and its error comes here
    finally:
        is_left.set()
        stop_on_sigterm()


def _stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  the shape signal handlers have
    raise RunDrainedError("stopped by SIGTERM; what is committed stays, run the same command again to continue")

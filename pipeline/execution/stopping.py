"""Being told to stop: SIGTERM becomes an error that ends the run in order."""

import signal
from types import FrameType

from pipeline.errors import RunDrainedError


def stop_on_sigterm() -> None:
    """From now on SIGTERM raises RunDrainedError in the main thread, the second one too."""
    signal.signal(signal.SIGTERM, _stop)


def _stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  the shape signal handlers have
    raise RunDrainedError("stopped by SIGTERM; what is committed stays, run the same command again to continue")

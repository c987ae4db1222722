"""Whether the head of the cluster still answers: Ray itself would end the process after a minute, with no word of ours.

A head that comes back in time is none of a run's business; one that does not takes every unit in hand with it.
"""

import os
import signal
import socket
import threading
import time
from types import FrameType

from pipeline.errors import HeadLostError

# Ray gives up after this long unless told otherwise, and then exits; the watch is a little quicker.
_RAYS_LIMIT = "RAY_gcs_rpc_server_reconnect_timeout_s"
_RAYS_LIMIT_S = 60.0
_SHARE = 0.7
_INTERVAL_S = 1.0


class HeadWatch:
    """Knocks at the head's port from a thread of its own; when nobody answers for long, interrupts the main thread.

    Args:
        address: `host:port` of the head.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._place = (host.strip("[]"), int(port))
        self._give_up_s = float(os.environ.get(_RAYS_LIMIT, _RAYS_LIMIT_S)) * _SHARE
        self._is_over = threading.Event()
        self.is_lost = False

    def start(self) -> None:
        """Begins to watch; from now on a lost head raises HeadLostError in the main thread."""
        signal.signal(signal.SIGUSR1, self._raise)
        threading.Thread(target=self._watch, name="head-watch", daemon=True).start()

    def stop(self) -> None:
        """Watches no more."""
        self._is_over.set()

    def _watch(self) -> None:
        last_seen = time.monotonic()
        while not self._is_over.wait(_INTERVAL_S):
            if self._answers():
                last_seen = time.monotonic()
            elif time.monotonic() - last_seen > self._give_up_s:
                self.is_lost = True
                main = threading.main_thread().ident
                assert main is not None, "it runs"
                signal.pthread_kill(main, signal.SIGUSR1)
                return

    def _answers(self) -> bool:
        try:
            socket.create_connection(self._place, timeout=_INTERVAL_S * 3).close()
        except OSError:
            return False
        return True

    def _raise(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  the shape signal handlers have
        host, port = self._place
        raise HeadLostError(
            f"the head of the Ray cluster at {host}:{port} has not answered for {self._give_up_s:.0f} s; what is "
            "committed stays: start the cluster again and run the same command"
        )

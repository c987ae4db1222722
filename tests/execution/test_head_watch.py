"""The watch over a cluster's head: patient with one that comes back, and an error of ours for one that does not."""

import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from pipeline.errors import HeadLostError
from pipeline.execution.head_watch import HeadWatch


class Head:
    """Somebody who answers on a port, and counts how often; may be silent for a while."""

    def __init__(self) -> None:
        self.knocks = 0
        self._listen(0)
        self.port = self._socket.getsockname()[1]

    def _listen(self, port: int) -> None:
        self._socket = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, args=(self._socket,), daemon=True).start()

    def _accept(self, listening: socket.socket) -> None:
        try:
            while True:
                listening.accept()[0].close()
                self.knocks += 1
        except OSError:
            return

    def go(self) -> None:
        """Answers no more."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def come_back(self) -> None:
        """Answers again on the same port."""
        self._listen(self.port)

    def wait_for_knocks(self, count: int) -> None:
        wanted, until = self.knocks + count, time.monotonic() + 60
        while self.knocks < wanted:
            assert time.monotonic() < until, f"{self.knocks} of {wanted} knocks"
            time.sleep(0.01)


@pytest.fixture
def head() -> Iterator[Head]:
    """A head that answers; the signal goes back to whoever had it."""
    handler, made = signal.getsignal(signal.SIGUSR1), Head()
    yield made
    signal.signal(signal.SIGUSR1, handler)


def watch(head: Head, limit_s: float, monkeypatch: pytest.MonkeyPatch) -> HeadWatch:
    """A watch of somebody whose Ray would give up after so many seconds."""
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", str(limit_s))
    started = HeadWatch(f"127.0.0.1:{head.port}")
    started.start()
    return started


def test_a_head_that_is_gone_is_an_error_in_the_main_thread(head: Head, monkeypatch: pytest.MonkeyPatch):
    watching = watch(head, 1.0, monkeypatch)
    head.wait_for_knocks(1)
    head.go()
    with pytest.raises(HeadLostError, match=rf"127\.0\.0\.1:{head.port} has not answered .* run the same command"):
        time.sleep(60)
    assert watching.is_lost


def test_a_head_that_comes_back_in_time_is_none_of_our_business(head: Head, monkeypatch: pytest.MonkeyPatch):
    watching = watch(head, 60.0, monkeypatch)
    head.wait_for_knocks(1)
    head.go()
    time.sleep(1.5)
    head.come_back()
    head.wait_for_knocks(2)
    assert not watching.is_lost
    watching.stop()


def test_who_has_stopped_watching_does_not_miss_the_head(head: Head, monkeypatch: pytest.MonkeyPatch):
    watching = watch(head, 0.0, monkeypatch)
    head.wait_for_knocks(1)
    watching.stop()
    until = time.monotonic() + 30
    while any(thread.name == "head-watch" for thread in threading.enumerate()):
        assert time.monotonic() < until, threading.enumerate()
        time.sleep(0.01)
    head.go()
    assert not watching.is_lost

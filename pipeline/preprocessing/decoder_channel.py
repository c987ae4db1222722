"""How a parent talks to its decoder process: a socket for messages, and a pipe for whatever the process prints.

Messages are JSON, one to a packet, so that neither side ever runs what the other sends.
"""

import json
import os
import select
import socket
import time
from typing import Any

PACKET_BYTES = 1 << 16
_KEPT_BYTES = 1 << 12  # of what was printed
_PIPE_BYTES = 1 << 16


class Channel:
    """The parent's ends; the other two are to be given to the process, and then closed with `close_theirs`.

    Attributes:
        their_socket: the process's end of the socket.
        their_output: the process's end of the pipe, a descriptor.
    """

    def __init__(self) -> None:
        self._socket, self.their_socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._output, self.their_output = os.pipe()
        os.set_blocking(self._output, False)
        self._printed, self._is_silent = b"", False
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._poll.register(self._output, select.POLLIN)

    def send(self, message: dict[str, Any], handles: tuple[int, ...] = ()) -> None:
        """Sends a message, and open files with it.

        Raises:
            EOFError: nobody is there.
        """
        try:
            socket.send_fds(self._socket, [json.dumps(message).encode()], handles)
        except ConnectionError:
            raise EOFError from None

    def receive(self, timeout_s: float) -> dict[str, Any]:
        """The next message; takes up what is printed meanwhile, so that no talkative codec waits for a reader.

        Raises:
            TimeoutError: none came within `timeout_s`.
            EOFError: none will come.
        """
        until = time.monotonic() + timeout_s
        while True:
            rest_s = until - time.monotonic()
            ready = [handle for handle, _ in self._poll.poll(max(0.0, rest_s) * 1000)]
            if self._socket.fileno() in ready:
                return self._packet()
            if rest_s <= 0:
                raise TimeoutError
            if ready:
                self._take_output()

    def forget_output(self) -> None:
        """Forgets what was printed so far."""
        self._take_output()
        self._printed = b""

    def printed(self) -> str:
        """The end of what was printed since the last `forget_output`."""
        self._take_output()
        return self._printed.decode(errors="replace").strip()

    def close_theirs(self) -> None:
        """Leaves the other ends to the process."""
        self.their_socket.close()
        os.close(self.their_output)

    def close(self) -> None:
        """Closes the parent's ends; the process then ends by itself, unless it is busy."""
        self._socket.close()
        os.close(self._output)

    def _packet(self) -> dict[str, Any]:
        try:
            packet = self._socket.recv(PACKET_BYTES)
        except ConnectionError:
            packet = b""
        if not packet:
            raise EOFError
        message: dict[str, Any] = json.loads(packet)
        return message

    def _take_output(self) -> None:
        try:
            chunk = os.read(self._output, _PIPE_BYTES)
        except BlockingIOError:
            return
        if chunk:
            self._printed = (self._printed + chunk)[-_KEPT_BYTES:]
        elif not self._is_silent:  # closed by a process that may live on; the pipe would be ready for ever
            self._is_silent = True
            self._poll.unregister(self._output)

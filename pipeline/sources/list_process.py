"""The process that reads lists as its parent sees it: asked with a deadline, given the bytes it asks for, not trusted.

A hostile file has that process and nothing else; what comes out of it is looked at once more.
"""

import json
import socket
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import IO

import pyarrow as pa

from pipeline import child_process
from pipeline.errors import InputListError
from pipeline.sources import list_loop
from pipeline.sources.list_answers import ListSchema, batch_of, range_of
from pipeline.sources.list_columns import MAX_BATCH_BYTES
from pipeline.sources.list_formats import READ_BYTES

# A batch and what it says of itself.
_MAX_MESSAGE_BYTES = MAX_BATCH_BYTES + 2**20
# Arrow allocates where it is told to from the system, which has no arenas that count as addresses.
_ENVIRONMENT = {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"}
_START_TIMEOUT_S = 300.0  # an interpreter and Arrow, perhaps from a network disk that everybody reads just now
_TEXT_CHARACTERS = 2_000


@dataclass(frozen=True)
class ListFile:
    """A file of a list.

    Attributes:
        uri: where it is, for messages.
        suffix: of `list_formats.SUFFIXES`.
        size_bytes: of the file.
        read: gives its bytes from one offset to before another.
    """

    uri: str
    suffix: str
    size_bytes: int
    read: Callable[[int, int], bytes]


class ListProcess:
    """A process running `list_loop.main`; one file at a time.

    Args:
        columns: which further columns to take; None for all.
        base: folder of relative names.
        memory_bytes: what reading a file may take.
        timeout_s: how long the process may be silent, in seconds; what the store takes does not count.
    """

    def __init__(
        self, columns: tuple[str, ...] | None, base: str, *, memory_bytes: int = 280 * 2**20, timeout_s: float = 60.0
    ) -> None:
        self._told = {"columns": None if columns is None else list(columns), "base": base}
        self._timeout_s, self._is_ready, self._num_rows = timeout_s, False, 0
        ours, theirs = socket.socketpair()
        self._connection = Connection(ours.detach())
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115  closed by `close`
        with theirs:
            self._popen = subprocess.Popen(  # noqa: S603
                child_process.command("pipeline.sources.list_loop", memory_bytes=memory_bytes),
                stdin=theirs.fileno(),
                stdout=self._printed,
                stderr=self._printed,
                env=child_process.environment(**_ENVIRONMENT),
            )
        self._finish = weakref.finalize(self, _finish, self._popen, self._connection, self._printed)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    def close(self) -> None:
        """Kills the process, if it still lives."""
        self._finish()

    def schema(self, file: ListFile) -> ListSchema:
        """What a file says of itself.

        Raises:
            InputListError: it is no list, or holds what cannot be taken; names it.
            PipelineError, OSError: from `read`.
        """
        (told,) = self._answers(file, None)
        with _judging(file):
            return ListSchema.of(told)

    def batches(self, file: ListFile, schema: ListSchema, max_rows: int) -> Iterator[pa.RecordBatch]:
        """The refs of a file, up to a few thousand more than `max_rows`.

        Args:
            file: to read.
            schema: from `schema`.
            max_rows: after how many rows to stop.

        Raises:
            InputListError: it cannot be read, or one of its rows cannot be taken; names file and row.
            PipelineError, OSError: from `read`.
        """
        answers = self._answers(file, max_rows)
        with _judging(file):
            found = ListSchema.of(next(answers))
        if found != schema:
            raise InputListError(f"{file.uri} has changed while it was read; run the same command again")
        for body in answers:
            with _judging(file):
                batch = batch_of(body, schema)
            self._num_rows += batch.num_rows
            yield batch

    def _answers(self, file: ListFile, max_rows: int | None) -> Iterator[bytes]:
        """What the process says of a file: its columns, then batches of refs."""
        self._become_ready()
        self._num_rows, wanted = 0, list_loop.SCHEMA
        request = {"suffix": file.suffix, "size_bytes": file.size_bytes, "max_rows": max_rows, **self._told}
        kind, body = self._say(file, json.dumps(request).encode())
        while kind != list_loop.DONE or wanted == list_loop.SCHEMA:
            if kind == list_loop.READ:
                kind, body = self._say(file, _range_of(file, body))
            elif kind == list_loop.REFUSED:
                raise InputListError(f"{file.uri}: {body.decode(errors='replace')[:_TEXT_CHARACTERS]}")
            elif kind == list_loop.FAILED:
                raise RuntimeError(f"a fault of the process that reads lists: {body.decode(errors='replace')}")
            elif kind == wanted and not (max_rows is None and kind == list_loop.BATCH):
                yield body
                wanted = list_loop.BATCH
                kind, body = self._say(file)
            else:
                raise _hostile(file, "another answer than it was to")

    def _become_ready(self) -> None:
        if self._is_ready:
            return
        with self._deadline(_START_TIMEOUT_S):
            try:
                self._connection.recv_bytes(1)
            except (EOFError, OSError):
                how = child_process.how_it_ended(self._popen)
                self._printed.seek(0)
                printed = self._printed.read(_TEXT_CHARACTERS).decode(errors="replace")
                raise RuntimeError(f"the process that reads lists cannot start: it {how}\n{printed}") from None
        self._is_ready = True

    def _say(self, file: ListFile, data: bytes | None = None) -> tuple[bytes, bytes]:
        """Sends a message, if there is one, and waits for the next."""
        with self._deadline(self._timeout_s) as is_late:
            try:
                if data is not None:
                    self._connection.send_bytes(data)
                message = self._connection.recv_bytes(_MAX_MESSAGE_BYTES)
            except (EOFError, OSError):
                raise self._lost(file, is_late=is_late.is_set()) from None
        return message[:1], message[1:]

    def _lost(self, file: ListFile, *, is_late: bool) -> InputListError:
        how = f"said nothing for {self._timeout_s:g} s" if is_late else child_process.how_it_ended(self._popen)
        self.close()
        return InputListError(
            f"{file.uri}: the process that read it {how}, after row {self._num_rows}; the file is damaged or hostile"
        )

    @contextmanager
    def _deadline(self, timeout_s: float) -> Iterator[threading.Event]:
        """Ends the process if the block takes longer, so that nothing waits for it for ever; the event tells."""
        is_late = threading.Event()

        def end() -> None:
            is_late.set()
            self._popen.kill()

        timer = threading.Timer(timeout_s, end)
        timer.start()
        try:
            yield is_late
        finally:
            timer.cancel()


def _finish(popen: "subprocess.Popen[bytes]", connection: Connection, printed: IO[bytes]) -> None:
    popen.kill()
    popen.wait()
    connection.close()
    printed.close()


@contextmanager
def _judging(file: ListFile) -> Iterator[None]:
    """Answers that are none leave the block as what they say of the file."""
    try:
        yield
    except (ValueError, TypeError, RecursionError) as error:
        raise _hostile(file, str(error)[:_TEXT_CHARACTERS]) from None


def _hostile(file: ListFile, what: str) -> InputListError:
    return InputListError(f"{file.uri}: the process that read it gave {what}; the file is damaged or hostile")


def _range_of(file: ListFile, body: bytes) -> bytes:
    """The bytes that a message asks for."""
    with _judging(file):
        start, end = range_of(body, file.size_bytes, READ_BYTES)
    data = file.read(start, end)
    if len(data) != end - start:
        raise InputListError(f"{file.uri} has become shorter while it was read; run the same command again")
    return data

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
from pipeline.sources.image_ref import REFS
from pipeline.sources.list_columns import KINDS, MAX_BATCH_BYTES, MAX_ROWS_AT_ONCE, refs_schema, require_names
from pipeline.sources.list_formats import READ_BYTES

# A batch and what it says of itself.
_MAX_MESSAGE_BYTES = MAX_BATCH_BYTES + 2**20
# Arrow allocates where it is told to from the system, which has no arenas that count as addresses.
_ENVIRONMENT = {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"}
_START_TIMEOUT_S = 300.0  # an interpreter and Arrow, perhaps from a network disk that everybody reads just now
_TEXT_CHARACTERS = 2_000
_OF_REFS = frozenset(REFS.names)


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


@dataclass(frozen=True)
class ListSchema:
    """What a file of a list says of itself: the columns that are taken, by kind, and how many rows; None if unsaid."""

    columns: dict[str, str]
    num_rows: int | None

    @property
    def own(self) -> dict[str, str]:
        """The columns that are carried along."""
        return {name: kind for name, kind in self.columns.items() if name not in _OF_REFS}


class ListProcess:
    """A process running `list_loop.main`; one file at a time.

    Args:
        columns: which further columns to take; None for all.
        base: folder of relative names.
        memory_bytes: what reading a file may take.
        timeout_s: how long the process may be silent, in seconds; what the store takes does not count.
    """

    def __init__(
        self, columns: tuple[str, ...] | None, base: str, *, memory_bytes: int = 2**30, timeout_s: float = 60.0
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
        told, *others = self._answers(file, None)
        if others:
            raise _not_sound(file, "more than its columns")
        return _schema_of(file, told)

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
        if _schema_of(file, next(answers)) != schema:
            raise InputListError(f"{file.uri} has changed while it was read; run the same command again")
        expected = refs_schema(schema.columns)
        for kind, body in answers:
            batch = _sound_batch(file, kind, body, expected=expected)
            self._num_rows += batch.num_rows
            yield batch

    def _answers(self, file: ListFile, max_rows: int | None) -> Iterator[tuple[bytes, bytes]]:
        """What the process says of a file: at least one message, and what kind it is of."""
        self._become_ready()
        self._num_rows, num_answers = 0, 0
        request = {"suffix": file.suffix, "size_bytes": file.size_bytes, "max_rows": max_rows, **self._told}
        kind, body = self._say(file, json.dumps(request).encode())
        while kind != list_loop.DONE:
            if kind == list_loop.READ:
                kind, body = self._say(file, _range_of(file, body))
            elif kind == list_loop.REFUSED:
                raise InputListError(f"{file.uri}: {str(json.loads(body))[:_TEXT_CHARACTERS]}")
            elif kind == list_loop.FAILED:
                raise RuntimeError(
                    f"a fault of the process that reads lists: {str(json.loads(body))[:_TEXT_CHARACTERS]}"
                )
            else:
                num_answers += 1
                yield kind, body
                kind, body = self._say(file)
        if not num_answers:
            raise _not_sound(file, "no columns")

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


def _range_of(file: ListFile, body: bytes) -> bytes:
    """The bytes that were asked for."""
    start, end = json.loads(body)
    if not 0 <= int(start) < int(end) <= min(file.size_bytes, int(start) + READ_BYTES):
        raise _not_sound(file, "a range that is not there")
    data = file.read(int(start), int(end))
    if len(data) != end - start:
        raise InputListError(f"{file.uri} has become shorter while it was read; run the same command again")
    return data


def _schema_of(file: ListFile, answer: tuple[bytes, bytes]) -> ListSchema:
    told = json.loads(answer[1])
    schema = ListSchema(dict(told["columns"]), told["num_rows"])
    is_sound = (
        answer[0] == list_loop.SCHEMA
        and set(schema.columns.values()) <= KINDS.keys()
        and isinstance(schema.num_rows, int | None)
    )
    if not is_sound:
        raise _not_sound(file, "other columns")
    require_names(schema.own)
    return schema


def _sound_batch(file: ListFile, kind: bytes, body: bytes, *, expected: pa.Schema) -> pa.RecordBatch:
    """The batch in a message, every value of it looked at."""
    if kind != list_loop.BATCH:
        raise _not_sound(file, "another message")
    try:
        batch = pa.ipc.read_record_batch(pa.py_buffer(body), expected)
        batch.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise _not_sound(file, f"a batch that is none ({error})") from None
    nulls = sum(batch[name].null_count for name in REFS.names)
    if nulls or batch.num_rows > MAX_ROWS_AT_ONCE or batch.nbytes > MAX_BATCH_BYTES:
        raise _not_sound(file, "a batch that it may not give")
    return batch


def _not_sound(file: ListFile, what: str) -> InputListError:
    return InputListError(f"{file.uri}: the process that read it gave {what}; the file is damaged or hostile")

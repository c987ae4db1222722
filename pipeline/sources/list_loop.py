"""What runs inside the process that reads lists: a file's bytes, asked for range by range, to batches of refs.

It has no file open and no credentials; a message is one letter and then JSON or an Arrow batch.
"""

import io
import json
import os
import resource
import threading
from multiprocessing.connection import Connection
from typing import Any

from pipeline.child_process import OUT_OF_MEMORY, limit_memory, prepare_for_the_worst
from pipeline.errors import InputListError

READY, READ, SCHEMA, BATCH, DONE, REFUSED, FAILED = b"+", b"r", b"s", b"b", b".", b"!", b"?"
MAX_HEARD_BYTES = 2**24
_PRINTED_BYTES = 2**20
_TEXT_CHARACTERS = 2_000


def main(*, memory_bytes: int) -> None:
    """Answers requests until the other end of standard input, a socket, is closed.

    Args:
        memory_bytes: how much more than after its imports the process may take.
    """
    prepare_for_the_worst()
    resource.setrlimit(resource.RLIMIT_FSIZE, (_PRINTED_BYTES, _PRINTED_BYTES))
    parent = _Parent()
    import pyarrow as pa

    from pipeline.sources import list_formats  # noqa: F401  so that its cost is paid, and counted, here

    pa.set_cpu_count(1)
    limit_memory(memory_bytes)
    parent.say(READY)
    try:
        while True:
            _answer(parent, json.loads(parent.hear()), memory_bytes)
    except (EOFError, ConnectionError):
        os._exit(0)  # nothing of a file that may be hostile is taken apart any more


class _Parent:
    """The other end of the socket; Arrow reads a CSV ahead in a thread, so two may talk at once, but one listens."""

    def __init__(self) -> None:
        self._connection, self._lock = Connection(os.dup(0)), threading.Lock()

    def say(self, kind: bytes, what: bytes = b"") -> None:
        with self._lock:
            self._connection.send_bytes(kind + what)

    def tell(self, kind: bytes, what: Any) -> None:
        self.say(kind, json.dumps(what).encode())

    def hear(self) -> bytes:
        return self._connection.recv_bytes(MAX_HEARD_BYTES)


def _answer(parent: _Parent, request: dict[str, Any], memory_bytes: int) -> None:
    import pyarrow as pa

    served = _Served(parent, request["size_bytes"])
    end = DONE, ""
    try:
        _read(parent, served, **request)
    except (EOFError, ConnectionError):
        raise
    except InputListError as error:
        end = REFUSED, str(error)
    except (MemoryError, pa.ArrowException, OSError, ValueError, KeyError) as error:
        said = f"{type(error).__name__}: {error}"
        if isinstance(error, MemoryError) or OUT_OF_MEMORY.search(said):
            end = REFUSED, f"takes more than {memory_bytes // 2**20} MiB to read; write smaller pages and rows"
        else:
            end = REFUSED, f"cannot be read: {ascii(said[:300])[1:-1]}"
    except Exception as error:  # noqa: BLE001  the parent is told of every one
        end = FAILED, f"{type(error).__name__}: {error}"
    served.end()
    parent.say(end[0], end[1][:_TEXT_CHARACTERS].encode(errors="backslashreplace"))


def _read(
    parent: _Parent,
    served: "_Served",
    *,
    suffix: str,
    size_bytes: int,
    columns: list[str] | None,
    base: str,
    max_rows: int | None,
) -> None:
    """Tells the schema, then all refs; the schema alone if `max_rows` is None."""
    from pipeline.sources.list_columns import chosen_columns, refs_of
    from pipeline.sources.list_formats import READ_BYTES, open_rows

    rows = open_rows(io.BufferedReader(served, READ_BYTES), suffix, size_bytes)
    chosen = chosen_columns(rows.schema, columns)
    parent.tell(SCHEMA, {"columns": list(chosen.items()), "num_rows": rows.num_rows})
    if max_rows is None:
        return
    first = 1
    # A count too high is judged by the parent, which closes its end of the socket over it.
    for batch in rows.batches(list(chosen)):
        if batch.num_rows:
            parent.say(BATCH, refs_of(batch, chosen, base=base, first=first).serialize().to_pybytes())
            first += batch.num_rows
        if first > max_rows + 1:
            break


class _Served(io.RawIOBase):
    """The file, of which the parent gives the bytes that are asked for."""

    def __init__(self, parent: _Parent, size_bytes: int) -> None:
        self._parent, self._size_bytes, self._position = parent, size_bytes, 0
        self._turn, self._is_over = threading.Lock(), False

    def end(self) -> None:
        """Waits for an answer that a thread still waits for; from then on the file has no bytes."""
        with self._turn:
            self._is_over = True

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size_bytes}[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        from pipeline.sources.list_formats import READ_BYTES

        count = max(0, min(len(buffer), READ_BYTES, self._size_bytes - self._position))
        with self._turn:
            if self._is_over or not count:
                return 0
            self._parent.tell(READ, [self._position, self._position + count])
            data = self._parent.hear()
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

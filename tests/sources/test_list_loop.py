"""The process's side of the conversation: it asks for every byte, says one thing after another, and goes when left."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline import child_process
from pipeline.sources import list_loop
from tests.sources import hostile_lists as hostile

REQUEST = {"columns": None, "base": "/", "max_rows": 10**6}


@pytest.fixture
def loop() -> Iterator[tuple[Connection, subprocess.Popen]]:
    """The other end of a process's socket, and the process, which has said that it is ready."""
    ours, theirs = socket.socketpair()
    with theirs:
        command = child_process.command("pipeline.sources.list_loop", memory_bytes=2**28)
        process = subprocess.Popen(command, stdin=theirs.fileno())
    connection = Connection(ours.detach())
    assert connection.recv_bytes() == list_loop.READY
    yield connection, process
    process.kill()
    process.wait()


def conversation(connection: Connection, path: Path, **request) -> list[bytes]:
    """All that is said of a file but for what is asked of it."""
    data, said = path.read_bytes(), []
    told = {**REQUEST, "suffix": path.suffix, "size_bytes": len(data), **request}
    connection.send_bytes(json.dumps(told).encode())
    while not said or said[-1][:1] not in (list_loop.DONE, list_loop.REFUSED, list_loop.FAILED):
        message = connection.recv_bytes()
        if message[:1] == list_loop.READ:
            start, end = json.loads(message[1:])
            connection.send_bytes(data[start:end])
        else:
            said.append(message)
    return said


def test_a_file_is_told_by_its_columns_its_rows_and_an_end(loop, tmp_path: Path):
    connection, process = loop
    path = hostile.parquet(tmp_path / "a.parquet", {"uri": ["a", "b"], "label": [1, 2]})
    schema, batch, end = conversation(connection, path)
    assert json.loads(schema[1:]) == {"columns": [["uri", "text"], ["label", "integer"]], "num_rows": 2}
    assert batch[:1] == list_loop.BATCH
    assert end[:1] == list_loop.DONE
    only = conversation(connection, path, max_rows=None)
    assert [message[:1] for message in only] == [list_loop.SCHEMA, list_loop.DONE]
    text = tmp_path / "a.csv"
    text.write_text("uri\n" + "a.jpg\n" * 400_000)
    kinds = [message[:1] for message in conversation(connection, text)]
    assert kinds == [list_loop.SCHEMA, *[list_loop.BATCH] * (len(kinds) - 2), list_loop.DONE]
    connection.close()
    assert process.wait(20) == 0, "left alone, it ends"


def test_what_is_wrong_is_said_in_short_and_printable_words_and_the_next_file_is_read(loop, tmp_path: Path):
    connection, _ = loop
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1\x1b[2J" + b"\xff" * 100 + b"\x20\0\0\0PAR1")
    (said,) = conversation(connection, path)
    assert said[:1] == list_loop.REFUSED
    assert said[1:].decode().isprintable()
    assert len(said) < 3000
    failed = conversation(connection, path, suffix=".parquet", base=None)
    assert failed[-1][:1] in (list_loop.REFUSED, list_loop.FAILED)
    assert len(conversation(connection, hostile.parquet(path, {"uri": ["a"]}))) == 3


def test_memory_and_what_it_may_print_are_limited(loop):
    _, process = loop
    limits = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
    of = {line[:26].strip(): line[26:].split()[0] for line in limits}
    assert (of["Max core file size"], of["Max file size"]) == ("0", str(2**20))
    assert int(of["Max address space"]) < 2**30 + 2**29
    assert pa.cpu_count() >= 1
    assert sys.executable

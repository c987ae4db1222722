"""The channel to a decoder process: messages arrive whole, waiting ends, and printing never blocks the other side."""

import json
import os
import socket
import threading
import time

import pytest

from pipeline.preprocessing.decoder_channel import PACKET_BYTES, Channel


@pytest.fixture
def channel():
    channel = Channel()
    yield channel
    channel.close()


def answer(channel: Channel, **message: object) -> None:
    channel.their_socket.send(json.dumps(message).encode())


def test_messages_go_both_ways_and_files_go_along(channel, tmp_path):
    (tmp_path / "a").write_text("content")
    with (tmp_path / "a").open("rb") as file:
        channel.send({"offset_bytes": 7}, (file.fileno(),))
    packet, (handle,), _, _ = socket.recv_fds(channel.their_socket, PACKET_BYTES, 2)
    assert json.loads(packet) == {"offset_bytes": 7}
    assert os.read(handle, 100) == b"content"
    os.close(handle)
    answer(channel, kind="ready")
    answer(channel, kind="begun", message="é" * 8_000)
    assert channel.receive(1) == {"kind": "ready"}
    assert channel.receive(1) == {"kind": "begun", "message": "é" * 8_000}
    channel.close_theirs()


def test_waiting_ends_when_time_is_up(channel):
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        channel.receive(0.2)
    assert 0.2 <= time.monotonic() - began < 2
    channel.close_theirs()


def test_nobody_there_is_the_end_for_reader_and_writer(channel):
    channel.close_theirs()
    with pytest.raises(EOFError):
        channel.receive(10)
    with pytest.raises(EOFError):
        channel.send({}, ())


def test_a_request_that_was_never_read_is_the_end_too(channel):
    channel.send({}, ())
    channel.close_theirs()
    with pytest.raises(EOFError):
        channel.receive(10)


def test_the_end_of_what_is_printed_is_kept_until_it_is_to_be_forgotten(channel):
    os.write(channel.their_output, b"x" * 50_000 + b"\nlast words \xff\n")
    assert channel.printed().endswith("\nlast words \ufffd")
    assert len(channel.printed()) < 5_000
    os.write(channel.their_output, b"more")
    channel.send({})
    assert channel.printed().endswith("more")
    channel.forget_output()
    assert channel.printed() == ""
    channel.close_theirs()


def test_who_prints_without_end_is_not_held_up_and_does_not_hold_up(channel):
    def chatter() -> None:
        for _ in range(100):
            os.write(channel.their_output, b"x" * 30_000)
        answer(channel, kind="done")

    thread = threading.Thread(target=chatter)
    thread.start()
    assert channel.receive(10) == {"kind": "done"}
    thread.join()
    channel.close_theirs()


def test_output_that_is_closed_while_the_process_lives_on_costs_no_time(channel):
    os.close(channel.their_output)
    began = time.process_time()
    with pytest.raises(TimeoutError):
        channel.receive(0.3)
    assert time.process_time() - began < 0.1
    assert channel.printed() == ""
    channel.their_socket.close()

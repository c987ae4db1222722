"""The watch over a cluster's nodes: a line that says what is waited for, and an end to waiting."""

import signal
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from pipeline.errors import RunIncompleteError
from pipeline.execution.node_watch import NodeWatch
from pipeline.execution.resources import Need, Node

HEAD = Node(0, 0, 0, "head" * 4)
DECODER = Node(4, 0, 4, "decoder" * 4)
ENCODER = Node(0, 1, 0, "encoder" * 4)
GPU = Need(0, 1)


class Changing:
    """A cluster with other nodes at every look, or (None) no answer; the last ones stay."""

    def __init__(self, *looks: Sequence[Node] | None) -> None:
        self._looks = list(looks)
        self.num_looks = 0

    def __call__(self) -> Sequence[Node]:
        self.num_looks += 1
        there = self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]
        if there is None:
            raise ConnectionError("the head does not answer")
        return there

    def wait_for(self, count: int) -> None:
        """Until it was looked at so often."""
        until = time.monotonic() + 30
        while self.num_looks < count:
            assert time.monotonic() < until
            time.sleep(0.01)


@pytest.fixture(autouse=True)
def _main_thread() -> Iterator[None]:
    """Gives the signal back to whoever had it, and waits until nobody watches any more."""
    handler = signal.getsignal(signal.SIGUSR2)
    yield
    until = time.monotonic() + 30
    while any(thread.name == "node-watch" for thread in threading.enumerate()):
        assert time.monotonic() < until, threading.enumerate()
        time.sleep(0.01)
    signal.signal(signal.SIGUSR2, handler)


def test_waiting_says_for_what_once_and_ends_when_it_comes(capsys):
    looks = Changing([HEAD], [HEAD], [HEAD, ENCODER], [HEAD, ENCODER, DECODER])
    assert NodeWatch(looks, 60, interval_s=0.01).wait(GPU) == [HEAD, ENCODER, DECODER]
    said = capsys.readouterr().err.splitlines()
    limit = "(execution.wait_for_nodes_s: 60 s more)"
    assert said == [
        f"waiting for a node with a GPU; the cluster has 1 node with 0 CPUs and 0 GPUs {limit}",
        f"waiting for a CPU more, to fetch and decode with; the cluster has 2 nodes with 0 CPUs and 1 GPU {limit}",
    ]


def test_waiting_ends_with_what_to_do(capsys):
    with pytest.raises(RunIncompleteError, match="without a node with a GPU, and none came within 0 s") as caught:
        NodeWatch(Changing([HEAD, DECODER]), 0).wait(GPU)
    assert "run the same command again" in str(caught.value)
    assert caught.value.exit_code == 75
    assert capsys.readouterr().err == ""


def test_nodes_that_come_and_go_are_told(capsys):
    looks = Changing([HEAD, DECODER, ENCODER], [HEAD, ENCODER], [HEAD, ENCODER, DECODER])
    watch = NodeWatch(looks, 60, interval_s=0.01)
    watch.start(GPU)
    looks.wait_for(4)
    watch.stop()
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "node decoderdecod is gone; the cluster has 2 nodes with 0 CPUs and 1 GPU"
    assert said[1].startswith("waiting for a CPU more, to fetch and decode with")
    assert said[2] == "node decoderdecod has joined; the cluster has 3 nodes with 4 CPUs and 1 GPU"


def test_a_run_whose_last_encoder_node_is_gone_ends_in_its_main_thread():
    watch = NodeWatch(Changing([HEAD, DECODER, ENCODER], [HEAD, DECODER]), 0.2, interval_s=0.05)
    watch.start(GPU)
    with pytest.raises(RunIncompleteError, match="without a node with a GPU"):
        time.sleep(60)


def test_waiting_begins_anew_with_every_node_that_is_lost():
    there, gone = [HEAD, DECODER, ENCODER], [HEAD, DECODER]
    looks = Changing(there, gone, there, gone, there, gone, there)
    watch = NodeWatch(looks, 0.12, interval_s=0.05)
    watch.start(GPU)
    looks.wait_for(8)
    watch.stop()


def test_a_head_that_does_not_answer_now_and_then_ends_no_watch(capsys):
    looks = Changing([HEAD, DECODER, ENCODER], None, [HEAD, ENCODER, DECODER], None, [HEAD, ENCODER])
    watch = NodeWatch(looks, 60, interval_s=0.01)
    watch.start(GPU)
    looks.wait_for(6)
    watch.stop()
    assert "node decoderdecod is gone" in capsys.readouterr().err

"""Waiting for nodes: before a run that has nowhere to encode yet, and in a run whose last fit node is gone.

Ray would wait in silence and for ever; here a line says for what, and after a while the run ends.
"""

import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType

from pipeline.errors import RunIncompleteError
from pipeline.execution.resources import Need, Node, in_words
from pipeline.observability.progress import announce

Look = Callable[[], Sequence[Node]]

_SHOWN = 12


class NodeWatch:
    """Looks at a cluster's nodes now and then.

    Args:
        look: gives the nodes there are.
        wait_s: how long to wait for a node that can hold an encoder, in seconds.
        interval_s: between two looks, in seconds.
    """

    def __init__(self, look: Look, wait_s: float, interval_s: float = 1.0) -> None:
        self._look, self._wait_s, self._interval_s = look, wait_s, interval_s
        self._is_over = threading.Event()
        self._said = ""
        self._since: float | None = None

    def wait(self, need: Need) -> Sequence[Node]:
        """The nodes, once one of them can hold an encoder.

        Raises:
            RunIncompleteError: none came in time.
        """
        while True:
            nodes = self._look()
            if self._is_fit(nodes, need):
                return nodes
            time.sleep(self._interval_s)

    def start(self, need: Need) -> None:
        """Begins to watch: tells of nodes that come and go, and raises RunIncompleteError in the main thread."""
        signal.signal(signal.SIGUSR2, self._raise)
        threading.Thread(target=self._watch, args=[need], name="node-watch", daemon=True).start()

    def stop(self) -> None:
        """Watches no more."""
        self._is_over.set()

    def _watch(self, need: Need) -> None:
        known = {node.node_id for node in self._look()}
        while not self._is_over.wait(self._interval_s):
            nodes = self._nodes_if_told()
            if nodes is None:
                continue
            seen = {node.node_id for node in nodes}
            _tell(known - seen, "is gone", nodes)
            _tell(seen - known, "has joined", nodes)
            known = seen
            try:
                self._is_fit(nodes, need)
            except RunIncompleteError as error:
                self._error = error
                main = threading.main_thread().ident
                assert main is not None, "it runs"
                signal.pthread_kill(main, signal.SIGUSR2)
                return

    def _nodes_if_told(self) -> Sequence[Node] | None:
        """The nodes; None where Ray does not say: of a head that is lost, the head watch tells."""
        with suppress(Exception):
            return self._look()
        return None

    def _is_fit(self, nodes: Sequence[Node], need: Need) -> bool:
        """Whether nothing is lacking; says what is, once."""
        lacking = need.lacks(nodes)
        if not lacking:
            self._since, self._said = None, ""
            return True
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since >= self._wait_s:
            raise RunIncompleteError(
                f"nothing can be encoded without {lacking}, and none came within {self._wait_s:.0f} s "
                f"(execution.wait_for_nodes_s); the cluster has {in_words(nodes)}",
                "what is committed stays: give the cluster such a node and run the same command again",
            )
        said = f"waiting for {lacking}; the cluster has {in_words(nodes)}"
        if said != self._said:
            self._said = said
            announce(f"{said} (execution.wait_for_nodes_s: {self._wait_s - (now - self._since):.0f} s more)")
        return False

    def _raise(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  the shape signal handlers have
        raise self._error


def _tell(changed: set[str], what: str, nodes: Sequence[Node]) -> None:
    for node_id in sorted(changed):
        announce(f"node {node_id[:_SHOWN]} {what}; the cluster has {in_words(nodes)}")

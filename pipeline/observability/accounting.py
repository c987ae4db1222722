"""Where the encoders' wall time went: every moment counts towards one cause, so the causes add up to the whole.

Seconds by step, added up over workers, cannot tell what a run waited for; this can.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# Of several things that go on at once, the first of these is what the moment counts for.
ACTIVITIES = ("compute", "audit", "copy", "upload", "serialise", "commit")
# Nothing goes on: until the encoder is there, while the next unit is fetched or decoded or on its way, after the last.
PAUSES = ("start", "fetch", "decode", "wait", "end")


@dataclass(frozen=True)
class Made:
    """When a unit was made ready, in seconds since 1970 (begun, all of it fetched, decoded), and on which node."""

    began: float
    fetched: float
    decoded: float
    node: str = ""


class Ledger:
    """The account of one encoder, kept by its own process; threads may share it.

    Args:
        clock: seconds since 1970; the same for all processes, as far as clocks agree.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._active = dict.fromkeys(ACTIVITIES, 0)
        self._seconds = dict.fromkeys((*ACTIVITIES, *PAUSES[:-1]), 0.0)
        self._pause = "start"
        self._began = self._settled = clock()

    def ready(self) -> None:
        """The encoder is there."""
        with self._lock:
            self._settle()
            self._pause = "wait"

    def arrived(self, made: Made) -> None:
        """A unit is there: what nothing was done in since the last one is time that this one took to be made."""
        with self._lock:
            self._settle(made)

    @contextmanager
    def activity(self, name: str) -> Iterator[None]:
        """Something goes on inside the block: one of `ACTIVITIES`."""
        self._change(name, 1)
        try:
            yield
        finally:
            self._change(name, -1)

    def account(self) -> dict[str, Any]:
        """When it began, up to when it tells, and seconds by cause until then, as `began`, `until` and `account`."""
        with self._lock:
            if any(self._active.values()):
                self._settle()
            return {"began": self._began, "until": self._settled, "account": dict(self._seconds)}

    def _change(self, name: str, by: int) -> None:
        with self._lock:
            self._settle()
            self._active[name] += by

    def _settle(self, made: Made | None = None) -> None:
        """Counts the time since the last change."""
        begin, self._settled = self._settled, max(self._settled, self._clock())
        cause = next((name for name in ACTIVITIES if self._active[name]), None)
        if cause or made is None or self._pause == "start":
            self._seconds[cause or self._pause] += self._settled - begin
            return
        fetch = _overlap((begin, self._settled), (made.began, made.fetched))
        decode = _overlap((begin, self._settled), (made.fetched, made.decoded))
        self._seconds["fetch"] += fetch
        self._seconds["decode"] += decode
        self._seconds["wait"] += self._settled - begin - fetch - decode


def _overlap(one: tuple[float, float], other: tuple[float, float]) -> float:
    return max(0.0, min(one[1], other[1]) - max(one[0], other[0]))


def successions(accounts: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Accounts of encoders that came one after the other: one that began after another's last word is in its place."""
    found: list[list[Mapping[str, Any]]] = []
    for account in sorted(accounts, key=lambda account: float(account["began"])):
        before = next((each for each in found if each[-1]["until"] <= account["began"]), None)
        if before is None:
            found.append([account])
        else:
            before.append(account)
    return found


class Accounts:
    """The accounts of all encoders of a command, as they come in with its units.

    Args:
        began: when there could have been encoders, in seconds since 1970.
    """

    def __init__(self, began: float) -> None:
        self._began = began
        self._last: dict[str, Mapping[str, Any]] = {}
        self._past = dict.fromkeys((*ACTIVITIES, *PAUSES), 0.0)

    def add(self, encoder: str, account: Mapping[str, Any]) -> None:
        """Takes the account of an encoder, unless a later one is known."""
        known = self._last.get(encoder)
        if known is None or known["until"] <= account["until"]:
            self._last[encoder] = account

    def seconds(self, until: float | None = None) -> dict[str, float]:
        """Seconds by cause of all encoders together, from the beginning until then; greatest first.

        Args:
            until: the end of the work, in seconds since 1970; None counts what encoders have told of, and no end.
        """
        total = dict(self._past)
        for succession in successions(self._last.values()):
            free_since = self._began
            for account in succession:
                for cause, seconds in account["account"].items():
                    total[cause] += seconds
                total["start"] += max(0.0, account["began"] - free_since)
                free_since = account["until"]
            total["end"] += 0.0 if until is None else max(0.0, until - free_since)
        return dict(sorted(total.items(), key=lambda item: -item[1]))

    def turn(self, until: float) -> None:
        """These encoders have ended, and from then on there could be others."""
        self._past, self._began = self.seconds(until), until
        self._last.clear()

    @property
    def num_encoders(self) -> int:
        """How many have given account since the last turn."""
        return len(self._last)

"""How the work of a run went, out of what its units wrote down: images a second, and every encoder's time by cause."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.observability.accounting import ACTIVITIES, PAUSES, Accounts, successions
from pipeline.observability.advice import advice

CAUSES = (*ACTIVITIES, *PAUSES)
_NUM_BINS = 48


@dataclass(frozen=True)
class Encoder:
    """An encoder's time, from when its command could have had encoders until the last unit of that command.

    Attributes:
        name: such as `command 1, encoder 2`.
        seconds: by cause; they add up to its wall time.
    """

    name: str
    seconds: dict[str, float]


@dataclass(frozen=True)
class Work:
    """Of one run.

    Attributes:
        run: its number.
        num_images: embedded by units that wrote down how it went.
        wall_s: time in which any command was at work on it; pauses between commands do not count.
        bin_s: width of a bin of `rates`.
        rates: images a second in each bin of that time.
        begins_s: when each command began, in seconds of that time, ascending.
        encoders: of all commands.
    """

    run: int
    num_images: int
    wall_s: float
    bin_s: float
    rates: list[float]
    begins_s: list[float]
    encoders: list[Encoder]

    @property
    def seconds(self) -> dict[str, float]:
        """Of all encoders together, by cause."""
        return {cause: sum(each.seconds.get(cause, 0.0) for each in self.encoders) for cause in CAUSES}

    @property
    def advice(self) -> str:
        """What to change first."""
        return advice(self.seconds)


def work_of(run: int, shards: pa.Table) -> Work | None:
    """How a run went; None if its units do not say.

    Args:
        run: its number.
        shards: columns of `schema.SHARDS`; tables from before units wrote it down lack some.
    """
    if "command" not in shards.column_names:
        return None
    units = [unit for unit in shards.to_pylist() if unit["command"] is not None]
    if not units:
        return None
    units.sort(key=lambda unit: (unit["command_began"], unit["command"], unit["until"]))
    commands = [list(group) for _, group in groupby(units, key=lambda unit: (unit["command_began"], unit["command"]))]
    spans = [(each[0]["command_began"], max(unit["until"] for unit in each)) for each in commands]
    clock = _WorkingTime(spans)
    bin_s = clock.wall_s / _NUM_BINS or 1.0
    counts = np.zeros(_NUM_BINS)
    for unit, since in zip(units, _begins(units), strict=True):
        counts += unit["num_rows"] * _spread(clock.at(since) / bin_s, clock.at(unit["until"]) / bin_s)
    encoders = [
        encoder
        for number, (command, (_, end)) in enumerate(zip(commands, spans, strict=True), 1)
        for encoder in _encoders(number if len(commands) > 1 else None, command, end)
    ]
    begins_s = [clock.at(began) for began, _ in spans]
    num_images = sum(unit["num_rows"] for unit in units)
    return Work(run, num_images, clock.wall_s, bin_s, (counts / bin_s).tolist(), begins_s, encoders)


def _begins(units: list[dict[str, Any]]) -> list[float]:
    """When each encoder began on each unit: once the one before was committed, or once it was there itself."""
    ready: dict[str, float] = {}
    begins = []
    for unit in units:
        started = unit["began"] + dict(unit["account"]).get("start", 0.0)
        begins.append(min(ready.get(unit["encoder"], started), unit["until"]))
        ready[unit["encoder"]] = unit["until"]
    return begins


def _spread(begin: float, end: float) -> np.ndarray:
    """How much of what happened evenly from one place to another, in bins, falls into each bin; in all, one."""
    edges = np.arange(_NUM_BINS + 1.0)
    if end - begin < 1e-9:
        return np.histogram([min(end, _NUM_BINS)], edges)[0].astype(float)
    return np.diff(np.clip((edges - begin) / (end - begin), 0, 1))


def _encoders(number: int | None, command: list[dict[str, Any]], end: float) -> list[Encoder]:
    """The encoders of a command, in the order in which they began; one that took another's place is that one still."""
    last = {unit["encoder"]: _account(unit) | {"name": unit["encoder"]} for unit in command}
    of = "" if number is None else f"command {number}, "
    found = []
    for place, succession in enumerate(successions(last.values()), 1):
        accounts = Accounts(command[0]["command_began"])
        for account in succession:
            accounts.add(account["name"], account)
        found.append(Encoder(f"{of}encoder {place}", accounts.seconds(end)))
    return found


def _account(unit: Mapping[str, Any]) -> dict[str, Any]:
    """As encoders give it; causes that this version does not know count as waiting, so that sums stay whole."""
    known: dict[str, float] = dict.fromkeys(CAUSES, 0.0)
    for cause, seconds in unit["account"]:
        known[cause if cause in known else "wait"] += seconds
    return {"began": unit["began"], "until": unit["until"], "account": known}


class _WorkingTime:
    """A clock that stands still while no command is at work.

    Args:
        spans: when each command began and ended, by their beginnings.
    """

    def __init__(self, spans: list[tuple[float, float]]) -> None:
        self._parts: list[tuple[float, float, float]] = []  # from, to, and the working time at its beginning
        self.wall_s = 0.0
        for began, ended in spans:
            start = max(began, self._parts[-1][1]) if self._parts else began
            if ended > start:
                self._parts.append((start, ended, self.wall_s))
                self.wall_s += ended - start

    def at(self, moment: float) -> float:
        """The working time at a moment."""
        for start, end, before in reversed(self._parts):
            if moment >= start:
                return before + min(moment, end) - start
        return 0.0

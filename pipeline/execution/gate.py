"""The gate of a run: encoders ask it before every unit, and once it is closed the run drains.

A run that is told to stop lets the units in hand be committed, and no other begin.
"""

import time
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError

from pipeline.execution.metrics import RunMetrics

_LOOK_S, _ANSWER_S = 0.1, 5.0


@ray.remote(num_cpus=0)
class _Gate:
    """Knows the units inside; lives in a process of its own."""

    def __init__(self, feature_set: str, run: int) -> None:
        self._is_open, self._inside = True, set[int]()
        self._metrics = RunMetrics(feature_set, run)
        self._metrics.start()
        self._metrics.in_flight(0)

    def enter(self, unit: int) -> bool:
        """Lets a unit in if the gate is open; one that is inside already lost its encoder there."""
        if self._is_open:
            if unit in self._inside:
                self._metrics.unit_again()
            self._inside.add(unit)
            self._metrics.in_flight(len(self._inside))
        return self._is_open

    def leave(self, unit: int) -> None:
        """A unit is done."""
        self._inside.discard(unit)
        self._metrics.in_flight(len(self._inside))

    def close(self) -> int:
        """Lets nobody in any more; says how many are inside."""
        self._is_open = False
        return len(self._inside)


class Gate:
    """The driver's and the encoders' end of one gate; travels to workers.

    Args:
        feature_set: its URI, for metrics.
        run: the run's number.
    """

    def __init__(self, feature_set: str, run: int) -> None:
        self._actor: Any = _Gate.remote(feature_set, run)  # type: ignore[attr-defined]

    def enter(self, unit: int) -> bool:
        """Whether a unit may begin; a gate that is gone (its node died) stands open."""
        with suppress(RayError):
            return bool(ray.get(self._actor.enter.remote(unit)))
        return True

    def leave(self, unit: int) -> None:
        """Says that a unit is done."""
        self._actor.leave.remote(unit)

    def drain(self, wait_s: float) -> int | None:
        """Closes the gate and waits for the units inside, at most `wait_s` seconds.

        Returns:
            How many are inside still; None if the gate does not answer.
        """
        deadline = time.monotonic() + wait_s
        with suppress(RayError):
            while True:
                inside = int(ray.get(self._actor.close.remote(), timeout=_ANSWER_S))
                if not inside or time.monotonic() >= deadline:
                    return inside
                time.sleep(_LOOK_S)
        return None

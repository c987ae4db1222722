"""The gate of a run: encoders ask it before every unit, and once it is closed the run drains.

A run that is told to stop lets the units in hand be committed, and no other begin.
"""

import time
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError

_LOOK_S, _ANSWER_S = 0.1, 5.0


@ray.remote(num_cpus=0)
class _Gate:
    """Counts the units inside; lives in a process of its own."""

    def __init__(self) -> None:
        self._is_open, self._inside = True, 0

    def enter(self) -> bool:
        """Lets a unit in if the gate is open."""
        self._inside += self._is_open
        return self._is_open

    def leave(self) -> None:
        """A unit is done."""
        self._inside -= 1

    def close(self) -> int:
        """Lets nobody in any more; says how many are inside."""
        self._is_open = False
        return self._inside


class Gate:
    """The driver's and the encoders' end of one gate; travels to workers."""

    def __init__(self) -> None:
        self._actor: Any = _Gate.remote()  # type: ignore[attr-defined]

    def enter(self) -> bool:
        """Whether a unit may begin; a gate that is gone (its node died) stands open."""
        with suppress(RayError):
            return bool(ray.get(self._actor.enter.remote()))
        return True

    def leave(self) -> None:
        """Says that a unit is done."""
        self._actor.leave.remote()

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

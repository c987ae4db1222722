"""Hitting a writer in a chosen phase of its work, at a random instant of it."""

import random
import time
from itertools import pairwise

from tests.chaos.room import Room, Task
from tests.chaos.writer import PHASES, PhaseFile

_LOOK_S = 0.0005


class Watched:
    """A writer that shows how far it is."""

    def __init__(self, room: Room, task: Task) -> None:
        path = room.new_file(b"\0")
        self.child = room.start(task, phase_file=str(path))
        self._file = PhaseFile(str(path))

    @property
    def phase(self) -> str:
        """Where it is, or was when it ended."""
        return self._file.phase

    def wait_for(self, phase: str) -> None:
        """Returns when that phase has begun, or the process has ended."""
        while PHASES.index(self.phase) < PHASES.index(phase) and not self.child.ended.is_set():
            time.sleep(_LOOK_S)


class Tempo:
    """How long each phase of an undisturbed run takes, in seconds."""

    def __init__(self, room: Room, task: Task) -> None:
        writer = Watched(room, task)
        began = time.monotonic()
        self.seconds: dict[str, float] = {}
        for phase, then in pairwise(PHASES):
            writer.wait_for(then)
            self.seconds[phase], began = time.monotonic() - began, time.monotonic()
        assert writer.child.wait() == 0, writer.child.log()

    def wait_into(self, writer: Watched, phase: str, rng: random.Random, *, share: float = 1.0) -> None:
        """Returns at a random instant in the first `share` of a phase, or later if the machine is slow."""
        writer.wait_for(phase)
        time.sleep(rng.uniform(0, self.seconds[phase] * share))

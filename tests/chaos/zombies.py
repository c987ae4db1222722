"""A writer stands still, or its request is held back, while another one completes; then it comes back, and nobody sees.

Half of the time the run is given up meanwhile, and a new one is made.
"""

import random
import signal
import time
from dataclasses import dataclass

from tests.chaos.checker import Verdict
from tests.chaos.children import KILLED, Child
from tests.chaos.outcome import Outcome, timed
from tests.chaos.room import Room, Task
from tests.chaos.tempo import Tempo, Watched
from tests.faults.barriers import Barrier
from tests.faults.operations import Seen

_CALL = "tests.chaos.mutations:write_until"
_NUM_IMAGES, _SIZE = 24, 3
_STOPPED_IN = ("starting", "listing", "planning", "units", "units", "units", "sealing")
_COULD_BE = {0, 75}  # how a writer may end whose run somebody else has ended
_TRIES = 20


@dataclass(frozen=True)
class _Case:
    """What happened, and what readers saw before and after the zombie came back."""

    what: str
    problem: str
    before: Verdict
    after: Verdict


def drill(room: Room, rng: random.Random, *, num_rounds: int) -> Outcome:
    """Rounds of three kinds, in turn: stopped at an instant, stopped before a change, a request that comes late."""
    with timed("zombies", wanted=num_rounds) as outcome:
        haunt = _Haunt(room)
        kinds = (haunt.stop_somewhen, haunt.stop_before_a_change, haunt.hold_back)
        rounds = [(kinds[number % 3], random.Random(rng.random()), rng.random() < 0.5) for number in range(num_rounds)]
        for case in room.map(outcome.name, lambda each: each[0](each[1], abandon=each[2]), rounds):
            outcome.faults += case.what != ""
            outcome.add(case.after, case.what)
            if case.problem:
                outcome.fail(f"{case.what}: {case.problem}")
            if case.before.problems or case.before.picture != case.after.picture:
                outcome.fail(f"{case.what}: readers saw {case.before} before and {case.after} after")
    return outcome


class _Haunt:
    """The three kinds of rounds, and how long and how much an undisturbed run is."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._tempo = Tempo(room, room.task(_NUM_IMAGES, _SIZE))
        counting = room.start(room.task(_NUM_IMAGES, _SIZE), _CALL, point=0)
        assert counting.wait() == 0, counting.log()
        self._num_changes = len(counting.result())
        with room.proxy() as proxy:
            problem = room.finish(room.task(_NUM_IMAGES, _SIZE, sink="s3"), proxy.environment())
            assert not problem, problem
            self._num_requests = proxy.num_mutating

    def stop_somewhen(self, rng: random.Random, *, abandon: bool) -> _Case:
        """SIGSTOP at a random instant of a random phase."""
        for _ in range(_TRIES):
            task = self._room.task(_NUM_IMAGES, _SIZE)
            writer = Watched(self._room, task)
            self._tempo.wait_into(writer, rng.choice(_STOPPED_IN), rng)
            writer.child.stop()
            if writer.child.wait_stopped():
                return self._wake(task, writer.child, f"stopped while {writer.phase}", abandon=abandon)
        return _Case("", "the writer was always done before it could be stopped", Verdict(), Verdict())

    def stop_before_a_change(self, rng: random.Random, *, abandon: bool) -> _Case:
        """SIGSTOP just before a random change of the file system."""
        task = self._room.task(_NUM_IMAGES, _SIZE)
        point = rng.randint(1, self._num_changes)
        zombie = self._room.start(task, _CALL, point=point, sign=signal.SIGSTOP)
        if not zombie.wait_stopped():
            return _Case("", f"it never came to change {point}", Verdict(), Verdict())
        return self._wake(task, zombie, zombie.log().strip(), abandon=abandon)

    def hold_back(self, rng: random.Random, *, abandon: bool) -> _Case:
        """A mutating request reaches the store when all is over; its sender waits for the answer, or is dead."""
        request, dies = rng.randint(1, self._num_requests), rng.random() < 0.5
        task = self._room.task(_NUM_IMAGES, _SIZE, sink="s3")
        with self._room.proxy() as proxy:
            barrier = proxy.install(Barrier(mutating=True, at=request, timeout_s=60))
            zombie = self._room.start(task, environment=proxy.environment())
            barrier.wait_held(timeout_s=30)
            seen = next(each for each in proxy.requests if each.mutation == request)
            if dies:
                zombie.kill()
                zombie.wait()
            what, problem = _complete(self._room, task, abandon=abandon)
            before = self._look(task)
            barrier.release()
            problem += _end_of(zombie, {KILLED} if dies else _COULD_BE)
            _wait_delivered(seen)
        what = f"{seen.operation} {seen.key} late, answered {seen.stored}, {'sender dead' if dies else ''}, {what}"
        return _Case(what, problem, before, self._look(task))

    def _wake(self, task: Task, zombie: Child, what: str, *, abandon: bool) -> _Case:
        """Somebody else completes, and the zombie goes on."""
        completed, problem = _complete(self._room, task, abandon=abandon)
        before = self._look(task)
        zombie.resume()
        problem += _end_of(zombie, _COULD_BE)
        return _Case(f"{what}, {completed}", problem, before, self._look(task))

    def _look(self, task: Task) -> Verdict:
        return self._room.check([task.place(num_rows=3)])[0]


def _complete(room: Room, task: Task, *, abandon: bool) -> tuple[str, str]:
    """Another writer seals the run, or a new run after the open one was given up; what was done, what was wrong."""
    given_up = 0
    if abandon:
        given_up = room.nursery.run("tests.chaos.writer:abandon", room.server.environment(), sink_uri=task.sink)
    problem = room.finish(task)
    return (f"run {given_up} given up, a new one sealed" if given_up else "sealed by another"), problem


def _end_of(zombie: Child, codes: set[int]) -> str:
    code = zombie.wait()
    return "" if code in codes else f"the zombie ended with {code}: {zombie.log()[-1500:]}"


def _wait_delivered(seen: Seen, timeout_s: float = 10) -> None:
    until = time.monotonic() + timeout_s
    while not seen.stored and time.monotonic() < until:
        time.sleep(0.002)

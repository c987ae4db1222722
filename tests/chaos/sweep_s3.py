"""Every mutating request of a whole run fails once, in every way, and then any two of them do."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

from tests.chaos.children import KILLED
from tests.chaos.outcome import Outcome, timed
from tests.chaos.room import Room, Task, judge
from tests.faults.faults import Answer, Kill, Placed, Reset

KINDS = {"503": Answer, "reset": Reset, "kill": Kill}
PLACES = ("before", "after")
_NUM_IMAGES, _SIZE = 12, 4


@dataclass(frozen=True)
class Point:
    """Where a fault happens: at which mutating request of the drill, before or after the store has it, and which."""

    request: int
    place: str
    kind: str

    def __str__(self) -> str:
        return f"{self.kind} {self.place} mutating request {self.request}"

    def fault(self) -> Placed:
        """The fault, for a proxy."""
        return KINDS[self.kind](mutating=True, at=self.request, place=self.place)


def drill(room: Room, rng: random.Random, *, kinds: Sequence[str] = tuple(KINDS)) -> Outcome:
    """Each mutating request x {before, after} x kinds of faults."""
    name = "sweep_s3" if len(kinds) == len(KINDS) else f"sweep_s3 {' '.join(kinds)}"
    points = [(Point(*each),) for each in product(range(1, num_requests(room) + 1), PLACES, kinds)]
    rng.shuffle(points)
    return _sweep(room, name, points)


def drill_pairs(room: Room, rng: random.Random, *, num_pairs: int) -> Outcome:
    """Two faults in one life of a feature set, drawn from all pairs."""
    requests = combinations(range(1, num_requests(room) + 1), 2)
    ways = list(product(PLACES, KINDS))
    pairs = [(Point(k1, *w1), Point(k2, *w2)) for (k1, k2), w1, w2 in product(requests, ways, ways)]
    outcome = _sweep(room, "sweep_s3_pairs", rng.sample(pairs, min(num_pairs, len(pairs))))
    outcome.note = f"{outcome.wanted // 2} pairs drawn from all {len(pairs)}"
    return outcome


def num_requests(room: Room) -> int:
    """Mutating requests of a run without faults."""
    task = room.task(_NUM_IMAGES, _SIZE, sink="s3")
    with room.proxy() as proxy:
        problem = room.finish(task, proxy.environment())
        assert not problem, problem
        return proxy.num_mutating


@dataclass(frozen=True)
class _Case:
    """A feature set that met faults, how many of them fired, which they were, and what went wrong before the end."""

    task: Task
    faults: int
    what: str
    problem: str


def _sweep(room: Room, name: str, cases: Sequence[tuple[Point, ...]]) -> Outcome:
    with timed(name, wanted=sum(map(len, cases))) as outcome:
        done = room.map(name, lambda points: _suffer(room, points), cases)
        outcome.faults = sum(case.faults for case in done)
        verdicts = room.check([case.task.place(num_rows=2) for case in done])
        judge(outcome, [(case.what, case.problem) for case in done], verdicts)
    return outcome


def _suffer(room: Room, points: tuple[Point, ...]) -> _Case:
    """The command meets the faults, and is run again until the run is sealed."""
    task, kinds = room.task(_NUM_IMAGES, _SIZE, sink="s3"), {point.kind for point in points}
    with room.proxy() as proxy:
        faults = [proxy.install(point.fault()) for point in points]
        child = room.start(task, environment=proxy.environment())
        code, problem = child.wait(), ""
        if code != (KILLED if "kill" in kinds else 0):  # it is patient: nothing else ends it
            problem = f"first exit code {code}: {child.log()[-1500:]} "
        if code != 0:
            problem += room.finish(task, proxy.environment())
        keys = [f"{seen.operation} {seen.key}" for seen in proxy.requests if seen.faults]
    what = "; ".join(" ".join(each) for each in zip(map(str, points), keys, strict=False))
    return _Case(room.copy(task), sum(fault.fired for fault in faults), what or "; ".join(map(str, points)), problem)

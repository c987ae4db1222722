"""A store in trouble: runs end well all the same, or say what was wrong, and no image goes to quarantine for it."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.chaos.checker import Verdict
from tests.chaos.images import name_of
from tests.chaos.outcome import Outcome, timed
from tests.chaos.room import Room, Task
from tests.chaos.weather import STORMS, FlipOne
from tests.faults.faults import Fault, Kill
from tests.faults.listings import LoseKeys, RepeatPage, SmallPages

_NUM_IMAGES, _SIZE = 40, 5
_NUM_READ = 8
_OWN = "sinks/"
# How a command may end whose own files or listings came to it damaged: well, or with a word about it.
_NOTICED = {0, 65, 75}
# What a listing lies about once: a key that it lacks, or a page that comes twice.
_LIES: dict[str, Callable[[int], list[Fault]]] = {
    "a run not listed": lambda seed: [LoseKeys("000001", key="/runs/", at=1 + seed % 3)],
    "a commit not listed": lambda _: [LoseKeys("000000003", key="/commits/", at=1)],
    "a shard not listed": lambda _: [LoseKeys("000000002", key="/shards/", at=2)],
    "a page of images twice": lambda seed: [SmallPages(5), RepeatPage(key="images/", at=2 + seed % 7)],
}
_TRIES = 10
_NUM_WORKERS = 6  # they mostly wait until it is time to try again


@dataclass(frozen=True)
class _Case:
    """What happened, how many faults fired, what went wrong, and the oracle's word on the set in the end."""

    what: str
    fired: int
    problem: str
    verdict: Verdict


def drill(room: Room, rng: random.Random, *, num_rounds: int, num_flips: int) -> Outcome:
    """Every storm and every lie of a listing `num_rounds` times, and flipped bits for writers and for readers."""
    seed = partial(rng.randrange, 2**31)
    cases: list[Callable[[], _Case]] = []
    for _ in range(num_rounds):
        cases += [partial(_weather, room, name, seed()) for name in STORMS]
        cases += [partial(_lie, room, name, seed()) for name in _LIES]
        cases.append(partial(_lose_image, room, seed()))
    cases += [partial(_flip_for_writer, room, seed()) for _ in range(num_flips)]
    shelf = _Shelf(room)
    cases += [partial(shelf.flip_for_reader, seed()) for _ in range(num_flips)]
    with timed("storms", wanted=len(cases)) as outcome:
        done = room.map(outcome.name, lambda case: case(), cases, num_workers=_NUM_WORKERS)
        outcome.note = f"{sum(case.fired for case in done)} requests hit in {len(cases)} runs"
        for case in done:
            outcome.faults += case.fired > 0
            outcome.add(case.verdict, case.what)
            if case.problem:
                outcome.fail(f"{case.what}: {case.problem}")
    return outcome


def _weather(room: Room, name: str, seed: int) -> _Case:
    """One command, which comes through the storm by itself."""
    task = room.task(_NUM_IMAGES, _SIZE, sink="s3", source="s3")
    code, faults, log = _write_under(room, task, STORMS[name](seed))
    problem = "" if code == 0 else f"exit code {code}: {log}; {room.finish(task)}"
    return _Case(f"{name} (seed {seed})", _fired(faults), problem, room.check([task.place(num_rows=3)])[0])


def _lose_image(room: Room, seed: int) -> _Case:
    """A listing lacks an image: the run is exact without it, and the next one embeds it and nothing else."""
    lost = name_of(random.Random(seed).randrange(3, _NUM_IMAGES))
    task = room.task(_NUM_IMAGES, _SIZE, sink="s3", source="s3")
    code, faults, log = _write_under(room, task, [SmallPages(5), LoseKeys(lost, key="images/")])
    first = room.check([task.place(num_rows=3, absent=[lost])])[0]
    problem = "" if code == 0 and first.is_good else f"exit code {code}: {log}; {first.problems}"
    problem += room.finish(task)
    return _Case(f"{lost} not listed", _fired(faults[1:]), problem, room.check([task.place(num_rows=3)])[0])


def _lie(room: Room, name: str, seed: int) -> _Case:
    """A listing is wrong once; whatever comes of it, the next command makes it good."""
    return _disturb(room, name, _LIES[name](seed), kill_at=0 if "images" in name else 12)


def _flip_for_writer(room: Room, seed: int) -> _Case:
    """A bit of one of our own files is flipped on its way to a writer that begins, or continues."""
    rng = random.Random(seed)
    for _ in range(_TRIES):
        flip = FlipOne(key=_OWN, number=rng.randint(1, 16), seed=rng.randrange(2**31))
        case = _disturb(room, "", [flip], kill_at=rng.choice([0, rng.randint(8, 26)]))
        if flip.hit:
            return _Case(f"bit flipped for a writer: {flip.hit}", 1, case.problem, case.verdict)
    return case


class _Shelf:
    """A sealed feature set for readers, what they see of it, and how many GETs they need for that."""

    def __init__(self, room: Room) -> None:
        self._room, self._task = room, room.task(_NUM_READ, 4, sink="s3")
        problem = room.finish(self._task)
        assert not problem, problem
        with room.proxy() as proxy:
            self._picture = room.read(self._task, proxy.environment())
            self._num_gets = sum(seen.answered in (200, 206) for seen in proxy.seen("GetObject"))

    def flip_for_reader(self, seed: int) -> _Case:
        """A bit is flipped on its way to a reader, who sees what is right or an error of ours."""
        flip = FlipOne(number=random.Random(seed).randint(1, self._num_gets), seed=seed)
        with self._room.proxy() as proxy:
            proxy.install(flip)
            seen = self._room.read(self._task, proxy.environment())
        is_good = seen == self._picture or seen.startswith("noticed")
        problem = "" if is_good else f"wrong rows, unnoticed, or not an error of ours: {seen}"
        return _Case(f"bit flipped for a reader: {flip.hit}", int(flip.hit != ""), problem, Verdict())


def _disturb(room: Room, what: str, faults: list[Fault], *, kill_at: int) -> _Case:
    """A command among faults, after one that was killed at some request; it may fail, the next one does not."""
    task = room.task(_NUM_IMAGES, _SIZE, sink="s3", source="s3" if "images" in what else "local")
    problem = ""
    if kill_at:
        _write_under(room, task, [Kill(mutating=True, at=kill_at)])
    code, faults, log = _write_under(room, task, faults)
    if code not in _NOTICED:
        problem = f"exit code {code}: {log}"
    problem += room.finish(task)
    return _Case(what, _fired(faults), problem, room.check([task.place(num_rows=3)])[0])


def _write_under(room: Room, task: Task, faults: list[Fault]) -> tuple[int, list[Fault], str]:
    """The exit code of one command with these faults on its way, the faults, and what it said."""
    with room.proxy() as proxy:
        for fault in faults:
            proxy.install(fault)
        child = room.start(task, environment=proxy.environment())
        return child.wait(), faults, child.log()[-1500:]


def _fired(faults: list[Fault]) -> int:
    return sum(fault.fired for fault in faults if not isinstance(fault, SmallPages))

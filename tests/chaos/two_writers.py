"""The same command several times at once, held together at the instant of every write that only one can win."""

import random
from collections import Counter

from tests.chaos.children import Child
from tests.chaos.meeting import DECISIVE
from tests.chaos.outcome import Outcome, timed
from tests.chaos.room import Room, Task, judge
from tests.faults.barriers import Barrier
from tests.faults.proxy import FaultProxy

_NUM_IMAGES, _SIZE = 8, 4
_NUM_MEETINGS = 5  # at the feature set, the run, two commits and the manifest


def drill(room: Room, rng: random.Random, *, num_rounds: int, num_writers: int) -> Outcome:
    """Rounds, half of them on S3 and half on local disk; the one fault of a round is that all writers met."""
    rounds = [_race_on_s3, _race_on_disk, _race_while_growing, _race_on_disk] * (-(-num_rounds // 4))
    rng.shuffle(rounds := rounds[:num_rounds])
    with timed("two_writers", wanted=num_rounds) as outcome:
        done = room.map(outcome.name, lambda race: race(room, num_writers), rounds)
        outcome.faults = sum(met for _, met, _ in done)
        verdicts = room.check([task.place(num_rows=2) for task, _, _ in done])
        judge(outcome, [(f"{num_writers} writers of {task.sink}", problem) for task, _, problem in done], verdicts)
    outcome.note = f"{num_writers} writers, together at {', '.join(DECISIVE)}"
    return outcome


_Round = tuple[Task, bool, str]


def _race_on_s3(room: Room, num_writers: int) -> _Round:
    task = room.task(_NUM_IMAGES, _SIZE, sink="s3")
    with room.proxy() as proxy:
        barriers = [proxy.install(Barrier(num_writers, key=mark, mutating=True)) for mark in DECISIVE]
        problem = _ends([room.start(task, environment=proxy.environment()) for _ in range(num_writers)])
        met = all(barrier.timed_out == 0 and barrier.fired >= num_writers for barrier in barriers)
        return task, met, problem + _not_once(_created_in(proxy))


def _race_while_growing(room: Room, num_writers: int) -> _Round:
    """Half of them have listed the source before an image came to it: two different plans for one run."""
    task = room.task(_NUM_IMAGES, _SIZE, sink="s3", own=True)
    with room.proxy() as proxy:
        barrier = proxy.install(Barrier(num_writers, key="/run.json", mutating=True))
        early = [room.start(task, environment=proxy.environment()) for _ in range(num_writers // 2)]
        barrier.wait_held(len(early), timeout_s=30)
        (task.images / "A first one.jpg").write_bytes(b"new")
        late = [room.start(task, environment=proxy.environment()) for _ in range(num_writers - len(early))]
        problem = _ends([*early, *late])
        return task, barrier.timed_out == 0, problem + room.finish(task) + _not_once(_created_in(proxy))


def _race_on_disk(room: Room, num_writers: int) -> _Round:
    task = room.task(_NUM_IMAGES, _SIZE)
    meeting = str(room.new_file(bytes(num_writers)))
    call = "tests.chaos.meeting:write_meeting"
    writers = [room.start(task, call, meeting_file=meeting, party=party) for party in range(num_writers)]
    problem = _ends(writers)
    if problem:
        return task, False, problem
    results = [writer.result() for writer in writers]
    created = Counter(name for each in results for name in each["created"])
    return task, all(each["met"] == _NUM_MEETINGS for each in results), _not_once(created)


def _ends(writers: list[Child]) -> str:
    """What was wrong with how they ended: all of them should with 0."""
    codes = [writer.wait() for writer in writers]
    said = next((writer.log()[-1500:] for writer in writers if writer.code), "")
    return f"exit codes {codes}: {said} " if any(codes) else ""


def _created_in(proxy: FaultProxy) -> Counter[str]:
    """How often the store said yes to a name."""
    puts = proxy.seen("PutObject")
    return Counter(seen.key for seen in puts for status in seen.stored if status == 200)


def _not_once(created: Counter[str]) -> str:
    """What was wrong with how often names were created."""
    wrong = {name: count for name, count in created.items() if count != 1}
    return f"not created exactly once: {wrong}" if wrong or not created else ""

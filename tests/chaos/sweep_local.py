"""On local disk: the process dies before every change of the file system, after every fsync, and at its very end."""

import random

from tests.chaos.children import KILLED
from tests.chaos.outcome import Outcome, timed
from tests.chaos.room import Room, Task, judge

_CALL = "tests.chaos.mutations:write_until"
_NUM_IMAGES, _SIZE = 12, 4


def drill(room: Room, rng: random.Random) -> Outcome:
    """SIGKILL at each point; then the same command again."""
    points = list(range(1, num_points(room) + 1))
    rng.shuffle(points)
    with timed("sweep_local", wanted=len(points)) as outcome:
        done = room.map(outcome.name, lambda point: _suffer(room, point), points)
        outcome.faults = sum(what != "" for _, what, _ in done)
        verdicts = room.check([task.place(num_rows=2) for task, _, _ in done])
        judge(outcome, [(what, problem) for _, what, problem in done], verdicts)
    return outcome


def num_points(room: Room) -> int:
    """The points of a run that nothing happens to, its end among them."""
    child = room.start(room.task(_NUM_IMAGES, _SIZE), _CALL, point=0)
    assert child.wait() == 0, child.log()
    return len(child.result())


def _suffer(room: Room, point: int) -> tuple[Task, str, str]:
    """The command, where it died, and what was wrong before or afterwards."""
    task = room.task(_NUM_IMAGES, _SIZE)
    child = room.start(task, _CALL, point=point)
    code = child.wait()
    problem = room.finish(task)
    if code != KILLED:
        return task, "", f"exit code {code} at point {point}: {child.log()} {problem}"
    return task, child.log().strip(), problem

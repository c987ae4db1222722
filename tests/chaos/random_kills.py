"""SIGKILL at random instants, the same command again, until there were enough kills, and then to the end."""

import random
from collections import Counter
from dataclasses import dataclass, field

from tests.chaos.children import KILLED
from tests.chaos.outcome import Outcome, timed
from tests.chaos.room import Room, Task, judge
from tests.chaos.tempo import Tempo, Watched
from tests.chaos.writer import PHASES

# How many of a set's kills are meant for which phase; the phase that is counted is the one that was hit.
_SHARES = {"starting": 0.1, "listing": 0.15, "planning": 0.15, "units": 0.4, "sealing": 0.2}
_KILLS_A_SET = 100


@dataclass
class _Set:
    """One feature set: where it is, how often it was hit in which phase, and what went wrong."""

    task: Task
    hits: Counter[str] = field(default_factory=Counter)
    problem: str = ""


def drill(room: Room, rng: random.Random, *, num_kills: int, num_images: int, size: int, sink: str) -> Outcome:
    """Kills writers of `num_images` in units of `size`; `sink` is `local` or `s3`."""
    with timed(f"random_kills_{sink}", wanted=num_kills) as outcome:
        tempo = Tempo(room, room.task(num_images, size, sink=sink))
        sets: list[_Set] = []
        while outcome.faults < num_kills:
            done = _Set(room.task(num_images, size, sink=sink))
            _kill_writers(room, done, rng, num_kills=min(num_kills - outcome.faults, _KILLS_A_SET), tempo=tempo)
            sets.append(done)
            outcome.faults += done.hits.total()
            room.say(outcome.name, outcome.faults, num_kills)
        verdicts = room.check([each.task.place() for each in sets])
        for each, verdict in zip(sets, verdicts, strict=True):
            if verdict.orphans > each.hits["units"]:
                each.problem += f"{verdict.orphans} shards in vain after {each.hits['units']} kills among units"
        judge(outcome, [(f"set {place}", each.problem) for place, each in enumerate(sets)], verdicts)
    hits = sum((each.hits for each in sets), Counter[str]())
    in_vain = sum(verdict.orphans for verdict in verdicts)
    outcome.note = ", ".join(f"{hits[phase]} {phase}" for phase in _SHARES) + f"; {in_vain} shards written in vain"
    return outcome


def _kill_writers(room: Room, done: _Set, rng: random.Random, *, num_kills: int, tempo: Tempo) -> None:
    """Up to so many kills; then the command runs to its end."""
    targets = sorted(rng.choices(list(_SHARES), list(_SHARES.values()), k=num_kills), key=PHASES.index)
    # Units that are done stay done: all these kills share the time that they take, and leave some for the last.
    shares = {"units": 1.4 / max(targets.count("units"), 1), "sealing": 0.6}
    for target in targets:
        writer = Watched(room, done.task)
        tempo.wait_into(writer, target, rng, share=shares.get(target, 1))
        writer.child.kill()
        code = writer.child.wait()
        if code == 0:
            return  # it was faster; the kills that are left go to the next set
        if code == KILLED:
            done.hits[writer.phase] += 1
        else:
            done.problem += f"exit code {code}: {writer.child.log()[-1500:]} "
    done.problem += room.finish(done.task)

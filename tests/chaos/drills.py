"""All drills with their numbers: the small ones of `make test` and `make chaos --quick`, and the full ones."""

import importlib.util
import random
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.chaos import bit_flips, random_kills, storms, sweep_local, sweep_s3, two_writers, zombies
from tests.chaos.outcome import Outcome
from tests.chaos.room import Room


@dataclass(frozen=True)
class Drill:
    """A drill by name; `function` takes a room, a source of random numbers, and the numbers of either size."""

    name: str
    function: Callable[..., Outcome]
    quick: Mapping[str, Any] = field(default_factory=dict)
    full: Mapping[str, Any] = field(default_factory=dict)

    def run(self, room: Room, seed: int, *, is_quick: bool) -> Outcome:
        """The outcome; the same seed draws the same, whichever other drills run."""
        rng = random.Random(f"{seed} {self.name}")
        try:
            return self.function(room, rng, **(self.quick if is_quick else self.full))
        except Exception:  # noqa: BLE001  a drill that breaks has failed, and the others go on
            return Outcome(self.name, wrong=1, problems=[traceback.format_exc()])


_BIG = {"num_images": 10_000, "size": 20, "sink": "local"}
_SMALL = {"num_images": 1_000, "size": 50, "sink": "s3"}

DRILLS = [
    Drill("sweep_s3", sweep_s3.drill),
    Drill("sweep_s3_pairs", sweep_s3.drill_pairs, {"num_pairs": 12}, {"num_pairs": 300}),
    Drill("sweep_local", sweep_local.drill),
    Drill("random_kills_local", random_kills.drill, {"num_kills": 60, **_BIG}, {"num_kills": 500, **_BIG}),
    Drill("random_kills_s3", random_kills.drill, {"num_kills": 10, **_SMALL}, {"num_kills": 50, **_SMALL}),
    Drill(
        "two_writers",
        two_writers.drill,
        {"num_rounds": 20, "num_writers": 2},
        {"num_rounds": 200, "num_writers": 4},
    ),
    Drill("zombies", zombies.drill, {"num_rounds": 15}, {"num_rounds": 150}),
    Drill("bit_flips", bit_flips.drill, {"num_flips": 200}, {"num_flips": 2_000}),
    Drill("storms", storms.drill, {"num_rounds": 1, "num_flips": 6}, {"num_rounds": 5, "num_flips": 150}),
]


def _ray_kills(_: Room, rng: random.Random, *, num_kills: int) -> Outcome:
    from tests.chaos import ray_kills

    return replace(ray_kills.drill(num_kills, rng), wanted=num_kills)


if importlib.util.find_spec("tests.chaos.ray_kills"):
    DRILLS.append(Drill("ray_kills", _ray_kills, {"num_kills": 7}, {"num_kills": 50}))

"""What a drill came to, and the table of all drills."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.chaos.checker import Verdict

_COLUMNS = ("drill", "faults", "planned", "lost", "duplicated", "wrong", "seconds")
_SHOWN = 10  # problems of a drill that are printed


@dataclass
class Outcome:
    """A drill's sum: faults that really happened, images planned, and those that did not come through as they should.

    Attributes:
        name: the drill.
        faults: how many happened.
        planned: images of all feature sets together.
        lost: images that are in no feature set's index or quarantine.
        duplicated: rows too many.
        wrong: images with wrong features, and everything else that should not be so.
        seconds: it took.
        wanted: faults it was asked for.
        note: what the numbers leave open.
        problems: which fault, which file, which ids.
    """

    name: str
    faults: int = 0
    planned: int = 0
    lost: int = 0
    duplicated: int = 0
    wrong: int = 0
    seconds: float = 0.0
    wanted: int = 0
    note: str = ""
    problems: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong and every fault happened."""
        return not (self.lost or self.duplicated or self.wrong) and self.faults >= max(self.wanted, 1)

    def add(self, verdict: Verdict, fault: str) -> None:
        """Takes what the checker found after a fault."""
        self.planned += verdict.planned
        self.lost += verdict.lost
        self.duplicated += verdict.duplicated
        self.wrong += verdict.wrong
        self.problems += [f"{fault}: {problem}" for problem in verdict.problems]

    def fail(self, problem: str) -> None:
        """Something that no image's id can be named for."""
        self.wrong += 1
        self.problems.append(problem)

    def __str__(self) -> str:
        lines = [*self.problems[:_SHOWN]]
        if len(self.problems) > _SHOWN:
            lines.append(f"... and {len(self.problems) - _SHOWN} more")
        if self.faults < max(self.wanted, 1):
            lines.append(f"{self.faults} faults happened of {self.wanted}")
        return "\n".join(f"  {self.name}: {line}" for line in lines)


@contextmanager
def timed(name: str, wanted: int = 0) -> Iterator[Outcome]:
    """An outcome that knows at the end how long the block took."""
    outcome, began = Outcome(name, wanted=wanted), time.monotonic()
    yield outcome
    outcome.seconds = time.monotonic() - began


def table(outcomes: Iterable[Outcome]) -> str:
    """One line a drill, aligned, and the notes below."""
    outcomes = list(outcomes)
    rows = [[str(getattr(each, "name" if name == "drill" else name)) for name in _COLUMNS[:-1]] for each in outcomes]
    rows = [[*row, f"{each.seconds:.1f}"] for row, each in zip(rows, outcomes, strict=True)]
    widths = [max(len(row[place]) for row in [_COLUMNS, *rows]) for place in range(len(_COLUMNS))]
    lines = [
        "  ".join(cell.rjust(width) if place else cell.ljust(width) for place, (cell, width) in enumerate(cells))
        for cells in (list(zip(row, widths, strict=True)) for row in [_COLUMNS, *rows])
    ]
    return "\n".join([*lines, *(f"{each.name}: {each.note}" for each in outcomes if each.note)])

"""How far a run is: one live line on a terminal, a plain line now and then anywhere else."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_PLAIN_INTERVAL_S = 10.0


def announce(text: str) -> None:
    """Says on stderr what is about to happen."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201  the line is the product


class RunProgress:
    """Images done, images per second, time left and quarantined, on stderr.

    Args:
        total: images of the run.
        done: images that earlier attempts finished.
    """

    def __init__(self, *, total: int, done: int) -> None:
        self._total, self._done = total, done
        self._quarantined = 0
        self._last_line = time.monotonic()
        self._first: tuple[float, int] | None = None
        self._bar = _bar() if sys.stderr.isatty() else None
        if self._bar:
            self._task = self._bar.add_task("embedding", total=total, completed=done, rate="-", quarantined=0)

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def advance(self, *, num_images: int, num_quarantined: int) -> None:
        """Counts a finished unit."""
        self._done += num_images
        self._quarantined += num_quarantined
        self._first = self._first or (time.monotonic(), self._done)
        if self._bar:
            rate = self._rate()
            shown = f"{rate:.2f}" if rate else "-"
            self._bar.update(self._task, completed=self._done, rate=shown, quarantined=self._quarantined)
        elif self._done >= self._total or time.monotonic() - self._last_line >= _PLAIN_INTERVAL_S:
            self._last_line = time.monotonic()
            announce(self.line())

    def line(self) -> str:
        """The state as one plain line."""
        counts = f"{self._done}/{self._total} images, {self._quarantined} quarantined"
        rate = self._rate()
        return f"{counts}, {rate:.2f} images/s, {(self._total - self._done) / rate:.0f} s left" if rate else counts

    def _rate(self) -> float | None:
        """Images per second since the first unit came in; what lies before that is starting up."""
        if self._first is None or self._done == self._first[1]:
            return None
        began, before = self._first
        return (self._done - before) / max(time.monotonic() - began, 1e-9)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} images"),
        TextColumn("{task.fields[rate]} images/s"),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[quarantined]} quarantined"),
        console=Console(stderr=True),
    )

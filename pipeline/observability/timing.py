"""Seconds by step, from the same counters in every run."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Stopwatch:
    """Adds up wall seconds by step name; time in a step within a step counts for the inner one alone."""

    def __init__(self, seconds: Mapping[str, float] | None = None) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._elsewhere: list[float] = []
        self.add(seconds or {})

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Counts the time inside the block towards `name`, also when it ends with an error."""
        began = time.perf_counter()
        self._elsewhere.append(0.0)
        try:
            yield
        finally:
            elapsed = time.perf_counter() - began
            self._seconds[name] += elapsed - self._elsewhere.pop()
            if self._elsewhere:
                self._elsewhere[-1] += elapsed

    def add(self, seconds: Mapping[str, float]) -> None:
        """Adds what was measured elsewhere."""
        for name, value in seconds.items():
            self._seconds[name] += value

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds so far, by step, in the order the steps first ended."""
        return dict(self._seconds)

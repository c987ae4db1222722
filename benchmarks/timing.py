"""Medians, in every program the same way."""

import statistics
import time
from collections.abc import Callable
from typing import Any


def median_s(work: Callable[[], Any], times: int = 7) -> float:
    """Median seconds of `work`, which is done twice unmeasured before."""
    work()
    work()
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)

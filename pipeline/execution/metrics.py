"""The metrics of one run, counted through Ray, whose agents on every node offer them to Prometheus.

Counting costs a dictionary's entry; a thread hands it all to Ray every second. Measuring never stops a run: what goes
wrong here is told once and then let be.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ray.util.metrics import Counter, Gauge, Histogram

from pipeline.observability import metrics as table
from pipeline.observability.accounting import Accounts
from pipeline.observability.metrics import RUN, Metric
from pipeline.redaction import shown

if TYPE_CHECKING:
    from pipeline.execution.blocks import Receipt

logger = logging.getLogger("pipeline")

# Ray forgets a gauge that is not set again within two of its reports, which are 10 s apart unless it is told otherwise.
_EVERY_S = 1.0


class RunMetrics:
    """What this process counts of a run, from when the block is entered until it is left.

    Args:
        feature_set: its URI.
        run: the run's number.
    """

    def __init__(self, feature_set: str, run: int) -> None:
        self._tags = {"feature_set": as_label(feature_set), "run": str(run)}
        self._lock, self._ended, self._is_told = threading.Lock(), threading.Event(), False
        self._counts: defaultdict[tuple[Metric, tuple[str, ...]], float] = defaultdict(float)
        self._observed: list[float] = []
        self._gauges: dict[Metric, float] = {}
        self._encoder_seconds: dict[str, float] = {}
        self._accounts_due = 0.0
        self._instruments: dict[Metric, Any] = {}
        self._thread = threading.Thread(target=self._keep, name="metrics", daemon=True)

    def start(self) -> None:
        """Begins to hand over, for as long as this process lives."""
        self._thread.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._hand_over()

    def progress(self, *, num_planned: int, num_done: int) -> None:
        """How far the run is, in images."""
        self._gauges[table.PLANNED], self._gauges[table.DONE] = num_planned, num_done

    def in_flight(self, num_units: int) -> None:
        """How many units are in encoders."""
        self._gauges[table.IN_FLIGHT] = num_units

    def unit_again(self) -> None:
        """A unit is tried once more, its encoder having been lost."""
        self._count(table.RETRIES, 1, "unit")

    def unit(self, receipt: "Receipt") -> None:
        """Counts a unit, unless another command has committed it and counts it too."""
        if not (receipt.is_committed and receipt.is_own):
            return
        with self._harmless():
            self._count(table.UNITS, 1)
            self._count(table.IMAGES, receipt.num_embedded, "embedded")
            self._count(table.IMAGES, receipt.num_quarantined, "quarantined")
            for stage, failures in receipt.failures.items():
                for error_type, number in failures.items():
                    self._count(table.QUARANTINED, number, stage, error_type)
            self._count(table.FETCHED, receipt.fetched_bytes)
            self._count(table.WRITTEN, receipt.size_bytes)
            for what, number in receipt.retries.items():
                self._count(table.RETRIES, number, what)
            for step, seconds in receipt.seconds.items():
                self._count(table.STEP_SECONDS, seconds, step)
            with self._lock:
                self._observed.append(sum(receipt.seconds.values()))

    def encoders(self, accounts: Accounts, until: float | None = None) -> None:
        """Brings the encoders' seconds by cause up to their accounts.

        Args:
            accounts: of all encoders.
            until: the end of the work, see `Accounts.seconds`; None before it, and then now and then is enough.
        """
        if until is None and time.monotonic() < self._accounts_due:
            return
        self._accounts_due = time.monotonic() + _EVERY_S
        with self._harmless():
            for cause, seconds in accounts.seconds(until).items():
                self._count(table.ENCODER_SECONDS, seconds - self._encoder_seconds.get(cause, 0.0), cause)
                self._encoder_seconds[cause] = seconds

    def _count(self, metric: Metric, by: float, *labels: str) -> None:
        """Adds to a counter, whose labels have these values in their order."""
        with self._lock:
            self._counts[metric, labels] += by

    def _keep(self) -> None:
        while not self._ended.wait(_EVERY_S):
            self._hand_over()

    def _hand_over(self) -> None:
        """Gives Ray what was counted since, and the gauges as they are."""
        with self._lock:
            counts, observed = dict(self._counts), self._observed
            self._counts.clear()
            self._observed = []
        for (metric, labels), number in counts.items():
            with self._harmless():
                if number > 0:
                    values = dict(zip(metric.labels, map(as_label, labels), strict=True))
                    self._instrument(metric).inc(number, {**self._tags, **values})
        for seconds in observed:
            with self._harmless():
                self._instrument(table.UNIT_SECONDS).observe(seconds, self._tags)
        for metric, value in list(self._gauges.items()):
            with self._harmless():
                self._instrument(metric).set(value, self._tags)

    def _instrument(self, metric: Metric) -> Any:
        if metric not in self._instruments:
            self._instruments[metric] = instrument(metric)
        return self._instruments[metric]

    @contextmanager
    def _harmless(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001  a run is worth more than its metrics
            if not self._is_told:
                self._is_told = True
                logger.warning("some metrics are missing from now on: %s", shown(error))


def instrument(metric: Metric) -> Any:
    """Ray's metric for one of ours."""
    labels = (*RUN, *metric.labels)
    if metric.kind == "histogram":
        return Histogram(metric.name, metric.meaning, boundaries=list(metric.buckets), tag_keys=labels)
    return {"counter": Counter, "gauge": Gauge}[metric.kind](metric.name, metric.meaning, tag_keys=labels)


def as_label(value: str) -> str:
    """The value as a label may have it: no secret, and ASCII, since Ray refuses other letters."""
    return shown(value).encode("ascii", "backslashreplace").decode()

"""The metrics of one run, counted through Ray, whose agents on every node offer them to Prometheus.

Measuring never stops a run: what goes wrong here is told once and then let be.
"""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from ray.util.metrics import Counter, Gauge, Histogram

from pipeline.execution.blocks import Receipt
from pipeline.observability import metrics as table
from pipeline.observability.metrics import RUN, Metric
from pipeline.redaction import shown

logger = logging.getLogger("pipeline")

# Ray forgets a gauge that is not set again within two of its reports, which are 10 s apart by default.
_AGAIN_S = 5.0


class RunMetrics:
    """What this process counts of a run; inside a `with` block, or for the life of the process, gauges are kept alive.

    Args:
        feature_set: its URI.
        run: the run's number.
    """

    def __init__(self, feature_set: str, run: int) -> None:
        self._tags = {"feature_set": as_label(feature_set), "run": str(run)}
        self._made: dict[str, Any] = {}
        self._gauges: dict[Metric, float] = {}
        self._encoder_seconds: dict[str, float] = {}
        self._is_off = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="gauges", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def progress(self, *, num_planned: int, num_done: int) -> None:
        """How far the run is, in images."""
        self._set(table.PLANNED, num_planned)
        self._set(table.DONE, num_done)

    def in_flight(self, num_units: int) -> None:
        """How many units are in encoders."""
        self._set(table.IN_FLIGHT, num_units)

    def unit_again(self) -> None:
        """A unit is tried once more, its encoder having been lost."""
        self._count(table.RETRIES, {"unit": 1}, "what")

    def unit(self, receipt: Receipt) -> None:
        """Counts a unit, unless another command has committed it and counts it too."""
        if not (receipt.is_committed and receipt.is_own):
            return
        self._count(table.UNITS, {"": 1})
        images = {"embedded": receipt.num_embedded, "quarantined": receipt.num_quarantined}
        self._count(table.IMAGES, images, "outcome")
        for stage, failures in receipt.failures.items():
            self._count(table.QUARANTINED, failures, "error_type", stage=stage)
        self._count(table.FETCHED, {"": receipt.fetched_bytes})
        self._count(table.WRITTEN, {"": receipt.size_bytes})
        self._count(table.RETRIES, receipt.retries, "what")
        self._count(table.STEP_SECONDS, receipt.seconds, "step")
        with self._harmless():
            self._instrument(table.UNIT_SECONDS).observe(sum(receipt.seconds.values()), self._tags)

    def encoders(self, seconds: Mapping[str, float]) -> None:
        """Brings the account of all encoders up to these seconds by cause, none of which ever shrinks."""
        more = {cause: value - self._encoder_seconds.get(cause, 0.0) for cause, value in seconds.items()}
        self._encoder_seconds.update(seconds)
        self._count(table.ENCODER_SECONDS, more, "cause")

    def _count(self, metric: Metric, by: Mapping[str, float], label: str | None = None, **labels: str) -> None:
        with self._harmless():
            for value, number in by.items():
                if number > 0:
                    own = {label: as_label(value)} if label else {}
                    self._instrument(metric).inc(number, {**self._tags, **labels, **own})

    def _set(self, metric: Metric, value: float) -> None:
        self._gauges[metric] = value
        with self._harmless():
            self._instrument(metric).set(value, self._tags)

    def _keep(self) -> None:
        """Sets gauges anew until the end."""
        while not self._ended.wait(_AGAIN_S):
            for metric, value in list(self._gauges.items()):
                self._set(metric, value)

    def _instrument(self, metric: Metric) -> Any:
        if metric.name not in self._made:
            self._made[metric.name] = instrument(metric)
        return self._made[metric.name]

    @contextmanager
    def _harmless(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001  a run is worth more than its metrics
            if not self._is_off:
                self._is_off = True
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

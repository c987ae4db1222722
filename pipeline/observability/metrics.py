"""What a run exports to Prometheus: name, kind, labels and meaning of every metric, and nothing that counts.

Dashboards, alerts and their tests go by this table; `execution.metrics` makes Ray's metrics of it. Labels take few
values: never an image, a unit or a place that an image came from.
"""

from dataclasses import dataclass
from typing import Literal

# What Ray puts before every name.
PREFIX = "ray_"
# Labels of every metric: the place of the feature set, and the number of the run in it.
RUN = ("feature_set", "run")


@dataclass(frozen=True)
class Metric:
    """One metric of every run; `buckets` are those of a histogram, upper bounds in its unit."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def series(self) -> dict[str, frozenset[str]]:
        """Labels by name, as Prometheus finds them; a histogram's sum is left out, Ray guesses it from buckets."""
        labels, name = frozenset((*RUN, *self.labels)), PREFIX + self.name
        if self.kind == "histogram":
            return {f"{name}_bucket": labels | {"le"}, f"{name}_count": labels}
        return {name: labels}


IMAGES = Metric("sam2_embed_images_total", "counter", "Images done, embedded or quarantined", ("outcome",))
QUARANTINED = Metric(
    "sam2_embed_quarantined_total", "counter", "Images quarantined, by step and reason", ("stage", "error_type")
)
UNITS = Metric("sam2_embed_units_committed_total", "counter", "Work units committed")
FETCHED = Metric("sam2_embed_fetched_bytes_total", "counter", "Bytes of images fetched")
WRITTEN = Metric("sam2_embed_written_bytes_total", "counter", "Bytes of shards written, as committed")
RETRIES = Metric(
    "sam2_embed_retries_total",
    "counter",
    "Tries again: requests to a store, units whose encoder was lost, decoder processes replaced",
    ("what",),
)
STEP_SECONDS = Metric("sam2_embed_step_seconds_total", "counter", "Seconds by step, added up over workers", ("step",))
UNIT_SECONDS = Metric(
    "sam2_embed_unit_seconds",
    "histogram",
    "Seconds of work on a unit, all its steps together",
    buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000),
)
ENCODER_SECONDS = Metric(
    "sam2_embed_encoder_seconds_total", "counter", "The encoders' wall time, each moment by one cause", ("cause",)
)
PLANNED = Metric("sam2_embed_run_images_planned", "gauge", "Images of the run")
DONE = Metric("sam2_embed_run_images_done", "gauge", "Images of the run that are committed, by whatever command")
IN_FLIGHT = Metric("sam2_embed_units_in_flight", "gauge", "Work units in encoders, being encoded or written")

METRICS = (
    *(IMAGES, QUARANTINED, UNITS, FETCHED, WRITTEN, RETRIES, STEP_SECONDS, UNIT_SECONDS, ENCODER_SECONDS),
    *(PLANNED, DONE, IN_FLIGHT),
)

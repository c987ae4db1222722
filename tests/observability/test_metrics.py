"""The table of metrics: names as Prometheus wants them, and labels that take few values."""

import re

import pytest

from pipeline.observability.metrics import METRICS, RUN, Metric

# Of what a run may have without end.
ENDLESS = {"image_id", "uri", "unit", "shard", "encoder", "node", "message", "example"}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_say_the_unit_and_labels_take_few_values(metric: Metric):
    assert re.fullmatch(r"sam2_embed_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    if "second" in metric.meaning.lower() and metric.kind != "gauge":
        assert "seconds" in metric.name
    if metric.meaning.startswith("Bytes"):
        assert "_bytes" in metric.name
    assert not {*metric.labels} & {*ENDLESS, *RUN}
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(metric.buckets)


def test_names_are_unique():
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_series_are_what_prometheus_finds():
    labels = {"feature_set", "run"}
    assert Metric("x_total", "counter", "X", ("step",)).series == {"ray_x_total": labels | {"step"}}
    histogram = Metric("y", "histogram", "Y", buckets=(1.0,))
    assert histogram.series == {"ray_y_bucket": labels | {"le"}, "ray_y_count": labels}

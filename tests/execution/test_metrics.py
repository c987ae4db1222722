"""Counting through Ray never stops a run; tests/integration/test_prometheus.py shows what Prometheus finds."""

import logging
import threading
from typing import Any

import pytest

from pipeline.execution.blocks import Receipt
from pipeline.execution.metrics import RunMetrics, as_label, instrument
from pipeline.observability.accounting import Accounts
from pipeline.observability.metrics import METRICS, Metric

RECEIPT = Receipt(3, is_committed=True, num_embedded=2, seconds={"encode": 1.5}, retries={"storage": 1})


def test_trouble_is_told_once_and_the_run_goes_on(caplog: pytest.LogCaptureFixture):
    broken: dict[str, Any] = {"encode": "a while"}
    with caplog.at_level(logging.WARNING, "pipeline"), RunMetrics("/features", 1) as metrics:
        for _ in range(3):
            metrics.unit(Receipt(3, is_committed=True, seconds=broken))
            metrics.unit(RECEIPT)
        accounts = Accounts(0.0)
        accounts.add("one", {"account": {"no such cause": 1.0}, "began": 0.0, "until": 1.0})
        metrics.encoders(accounts)
    (warning,) = caplog.messages
    assert warning.startswith("some metrics are missing from now on: ")


def test_every_metric_of_the_table_can_be_made():
    for metric in METRICS:
        made = instrument(metric).info
        assert (made["name"], made["description"]) == (metric.name, metric.meaning)
        assert made["tag_keys"] == ("feature_set", "run", *metric.labels)
        assert made.get("boundaries", []) == list(metric.buckets)
    with pytest.raises(KeyError):
        instrument(Metric("x", "summary", "of no kind that Ray has"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("s3://b/features", "s3://b/features"),
        ("/caf\u00e9\n", r"/caf\xe9\n"),
        ("https://user:hunter2@h/x", "https://***@h/x"),
        ("/\udcff", r"/\udcff"),
    ],
)
def test_a_label_is_ascii_and_without_secrets(value: str, label: str):
    assert as_label(value) == label


def test_its_thread_ends_with_the_block():
    with RunMetrics("/features", 1) as metrics:
        metrics.progress(num_planned=10, num_done=0)
        assert "metrics" in {thread.name for thread in threading.enumerate()}
    assert "metrics" not in {thread.name for thread in threading.enumerate()}

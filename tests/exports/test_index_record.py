"""An index knows what it is of: an older one says so, one of other features is refused."""

import logging
import shutil

import pytest

from pipeline.errors import ConfigError
from pipeline.exports.index_record import check_current, random_weights
from pipeline.exports.vector_index import VectorIndex
from tests.small_set import SETTINGS
from tests.vector_set import VectorSet, gaussian


def test_an_index_of_the_last_run_is_current(index: VectorIndex, caplog):
    with caplog.at_level(logging.WARNING, "pipeline"):
        check_current(index.record)
    assert caplog.text == ""


def test_an_older_index_names_both_runs(index: VectorIndex, small: VectorSet, caplog):
    small.embed_vectors(["new.jpg"], gaussian(1))
    with caplog.at_level(logging.WARNING, "pipeline"):
        check_current(index.record)
    assert f"built after run 2, and {small.uri} has run 3 now" in caplog.text


def test_an_open_run_makes_no_index_old(index: VectorIndex, small: VectorSet, caplog):
    small.begin([["new.jpg"]])
    with caplog.at_level(logging.WARNING, "pipeline"):
        check_current(index.record)
    assert caplog.text == ""


def test_an_index_of_other_features_is_refused(index: VectorIndex, small: VectorSet):
    shutil.rmtree(small.uri)
    VectorSet(small.uri, settings={**SETTINGS, "precision": "fp32"}).embed_vectors(["a"], gaussian(1))
    with pytest.raises(ConfigError, match="the index is of features with the fingerprint"):
        check_current(index.record)


def test_features_that_are_gone_leave_an_index_that_searches(index: VectorIndex, small: VectorSet, caplog):
    shutil.rmtree(small.uri)
    with caplog.at_level(logging.WARNING, "pipeline"):
        check_current(index.record)
    assert f"is not known: there are no features at {small.uri} any more" in caplog.text


@pytest.mark.usefixtures("other_clients")
def test_a_store_that_does_not_answer_is_not_waited_for(index: VectorIndex, caplog, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with caplog.at_level(logging.WARNING, "pipeline"):
        check_current(index.record.model_copy(update={"features_uri": "s3://bucket/features"}))
    assert "whether the index is up to date is not known: s3://bucket/features" in caplog.text


def test_random_weights_are_called_random():
    assert "RANDOM WEIGHTS (seed 3, untrained)" in (random_weights({"weights": {"kind": "random", "seed": 3}}) or "")
    assert random_weights({"weights": {"kind": "checkpoint", "sha256": "ab"}}) is None

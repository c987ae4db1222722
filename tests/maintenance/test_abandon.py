"""Abandoning: an open run ends for good, a sealed one never."""

import pytest

from pipeline.errors import FeatureSetError, RunConflictError
from pipeline.featureset import catalog
from pipeline.maintenance.abandon import abandon
from pipeline.sinks.seal import seal_run
from tests.small_set import SmallSet


def test_an_open_run_is_given_up_and_another_can_be_begun(small: SmallSet):
    small.embed([["a"]])
    run = small.begin([["b"], ["c"]])
    small.commit(run, 0, ["b"])
    assert "1 of its 2 units were committed" in abandon(small.root, 2)
    assert catalog.manifest(small.root, 2) is None
    assert small.embed([["b"]]).run == 3


def test_a_second_time_it_only_says_so(small: SmallSet):
    small.begin([["a"]])
    abandon(small.root, 1)
    end = catalog.run_end(small.root, 1)
    assert "was abandoned already" in abandon(small.root, 1)
    assert catalog.run_end(small.root, 1) == end


def test_a_run_that_was_sealed_meanwhile_is_a_conflict_that_says_so(small: SmallSet):
    run = small.begin([["a"]])
    small.commit(run, 0, ["a"])
    manifest = seal_run(small.root, run)
    with pytest.raises(RunConflictError, match=r"run 1 of .* was sealed .* 1 images with features count"):
        abandon(small.root, 1)
    assert catalog.manifest(small.root, 1) == manifest


def test_a_run_that_is_not_there_is_named(small: SmallSet):
    with pytest.raises(FeatureSetError, match="has no run 7"):
        abandon(small.root, 7)

"""Errors on a worker leave Ray as what they were there: one sentence, with the exit code of their kind."""

import pickle

import pytest
import ray
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import RayTaskError, WorkerCrashedError

from pipeline.errors import (
    AccessDeniedError,
    FeatureSetError,
    PipelineError,
    RunIncompleteError,
    SinkError,
    StoreUnavailableError,
)
from pipeline.execution.cluster import open_cluster
from pipeline.execution.resources import first_need


def _through_ray(error: Exception) -> Exception:
    """The error as a driver meets it."""
    wrapped = RayTaskError("encode", "Traceback ...\n" + repr(error), error)
    return pickle.loads(pickle.dumps(wrapped)).as_instanceof_cause()  # noqa: S301


@pytest.mark.parametrize("kind", [SinkError, StoreUnavailableError, AccessDeniedError, FeatureSetError])
def test_an_error_of_ours_comes_back_as_itself(kind: type[PipelineError]):
    advice = "\nFailed to apply UDF transform after 1/1 attempts\nTo change retry attempts, ..."
    with (
        pytest.raises(kind, match=r"^cannot write below /full: No space left$") as caught,
        open_cluster(None, logs=False),
    ):
        raise _through_ray(kind("cannot write below /full: No space left" + advice))
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    "error", [WorkerCrashedError(), _through_ray(RuntimeError("CUDA error")), ExecutionTimeoutError("no progress")]
)
def test_whatever_else_ends_ray_can_be_continued(error):
    with (
        pytest.raises(RunIncompleteError, match="run the same command again") as caught,
        open_cluster(None, logs=False),
    ):
        raise error
    assert caught.value.exit_code == 75


def test_what_is_not_rays_passes_untouched():
    with pytest.raises(PipelineError, match=r"^plain$"), open_cluster(None, logs=False):
        raise PipelineError("plain")
    assert not ray.is_initialized()


def test_asking_a_local_cluster_for_its_nodes_starts_nothing(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with open_cluster(None, logs=False) as cluster:
        (node,) = cluster.nodes(first_need("auto"), 0)
        assert node.num_cpus > node.num_cores >= 1
        assert not ray.is_initialized()

"""Places that are not there are found before anything heavy is loaded."""

import subprocess
import sys

import pytest

from pipeline.config import job_config
from pipeline.errors import AccessDeniedError, ConfigError, SinkError, SourceError, StoreUnavailableError
from pipeline.execution.preflight import check_places
from tests.faults.faults import Answer, Unconditional
from tests.small_set import SmallSet


def config(source: str, sink: str, **execution: object):
    return job_config(
        {
            "source": {"kind": "directory", "uri": source, "suffixes": None},
            "sink": {"uri": sink},
            "model": {"name": "hiera_debug", "checkpoint": "random", "overrides": []},
            "features": {"kind": "fpn"},
            "preprocess": {},
            "execution": execution,
        }
    )


def test_places_that_are_there_pass_and_nothing_is_made(tmp_path):
    check_places(config(str(tmp_path), str(tmp_path / "features")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("source", "sink", "error"),
    [
        ("/nowhere/at/all", "{tmp}/features", SourceError),
        ("{tmp}", "/dev/null/features", SinkError),
        ("{tmp}", "memory://bucket/features", ConfigError),
        ("nosuch://a/b", "{tmp}/features", ConfigError),
    ],
)
def test_places_that_are_not_there_are_refused(tmp_path, source, sink, error):
    with pytest.raises(error):
        check_places(config(source.format(tmp=tmp_path), sink.format(tmp=tmp_path)))


def test_a_bucket_that_can_be_written_passes_and_a_second_time_too(tmp_path, store):
    for _ in range(2):
        check_places(config(str(tmp_path), f"s3://{store.bucket}/features"))
    assert store.keys() == ["features/staging/conditional-write-probe"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Unconditional(operation="PutObject"), ConfigError),
        (Answer(403, operation="PutObject"), AccessDeniedError),
        (Answer(403), AccessDeniedError),
        (Answer(404, "NoSuchBucket"), SinkError),
        (Answer(503), StoreUnavailableError),
    ],
    ids=["no conditional writes", "read only", "denied", "no bucket", "down"],
)
def test_a_bucket_that_cannot_be_written_is_told_by_why(tmp_path, store, fault, error):
    store.proxy.install(fault)
    with pytest.raises(error, match=f"s3://{store.bucket}"):
        check_places(config(str(tmp_path), f"s3://{store.bucket}/features", patience_s=0.1))


def test_a_feature_set_that_is_there_is_not_written_to(tmp_path, store):
    SmallSet(f"s3://{store.bucket}/features")
    store.proxy.forget()
    check_places(config(str(tmp_path), f"s3://{store.bucket}/features"))
    assert store.proxy.num_mutating == 0


def test_neither_torch_nor_ray_is_loaded_for_it():
    code = "import sys, pipeline.execution.preflight; print(sorted({'torch', 'ray', 'hydra'} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"


def test_a_submitted_job_writes_nothing_where_ray_throws_it_away(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with pytest.raises(ConfigError, match=r"sink\.uri=features is relative"):
        check_places(config(str(tmp_path), "features"))
    check_places(config(str(tmp_path), str(tmp_path / "features")))

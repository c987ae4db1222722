"""Places that are not there are found before anything heavy is loaded."""

import subprocess
import sys

import pytest

from pipeline.config import job_config
from pipeline.errors import ConfigError, SinkError, SourceError
from pipeline.execution.preflight import check_places


def config(source: str, sink: str):
    return job_config(
        {
            "source": {"kind": "directory", "uri": source, "suffixes": None},
            "sink": {"uri": sink},
            "model": {"name": "hiera_debug", "checkpoint": "random", "overrides": []},
            "features": {"kind": "fpn"},
            "preprocess": {},
            "execution": {},
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
        ("{tmp}", "s3://bucket/features", ConfigError),
        ("nosuch://a/b", "{tmp}/features", ConfigError),
    ],
)
def test_places_that_are_not_there_are_refused(tmp_path, source, sink, error):
    with pytest.raises(error):
        check_places(config(source.format(tmp=tmp_path), sink.format(tmp=tmp_path)))


def test_neither_torch_nor_ray_is_loaded_for_it():
    code = "import sys, pipeline.execution.preflight; print(sorted({'torch', 'ray', 'hydra'} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"

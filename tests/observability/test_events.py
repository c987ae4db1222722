"""Events: a line of plain JSON each, without secrets and control characters, and none on a terminal."""

import json
import os
import pty
import re
import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.observability.events import UnitEvent, tell

ON_A_TERMINAL = """
from tests.observability.test_events import event
from pipeline.observability.events import tell
tell(event())
print("told")
"""


def event(**changes: Any) -> UnitEvent:
    facts: dict[str, Any] = {
        "feature_set": "/data/features",
        "run": 2,
        "command": "c0",
        "unit": 7,
        "is_own": True,
        "images": 3,
        "embedded": 2,
        "quarantined": {"TruncatedImage": 1},
        "fetched_bytes": 1000,
        "written_bytes": 2000,
        "seconds": {"encode": 1.5},
        "retries": {"storage": 0, "decoder": 1},
        "encoder": "e0",
        "host": "host",
        "shard": "shards/000002/000000007-t.parquet",
    }
    return UnitEvent(**{**facts, **changes})


def test_an_event_is_one_line_that_says_what_and_when(capsys: pytest.CaptureFixture[str]):
    tell(event())
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("}\n")
    told = json.loads(err)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told.pop("ts"))
    assert list(told)[:4] == ["event", "feature_set", "run", "command"]
    assert (told["event"], told["unit"], told["retries"]) == ("unit", 7, {"storage": 0, "decoder": 1})
    assert UnitEvent(**json.loads(err)).line + "\n" == err


def test_it_holds_no_secret_and_does_not_speak_to_the_terminal(capsys: pytest.CaptureFixture[str]):
    hostile = "https://user:hunter2@h/\x1b[2J\n{}\u202e\u00e9\udcff"
    tell(event(feature_set=hostile, host=hostile, quarantined={hostile: 1}))
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert line[:-1].isascii()
    assert line[:-1].isprintable()
    assert "hunter2" not in line
    assert json.loads(line)["host"] == "https://***@h/\\x1b[2J\\n{}\\u202e\u00e9\\udcff"


@pytest.mark.parametrize("change", [{"images": None}, {"retries": {"storage": "x"}}, {"what": 1}])
def test_the_schema_is_closed(change: dict[str, Any]):
    with pytest.raises(ValidationError):
        event(**change)


def test_a_terminal_gets_none():
    reader, terminal = pty.openpty()
    done = subprocess.run([sys.executable, "-c", ON_A_TERMINAL], stderr=terminal, stdout=subprocess.PIPE, check=False)
    os.close(terminal)
    os.set_blocking(reader, False)
    with pytest.raises(OSError, match="error"):  # the far end is closed, and nothing was written
        os.read(reader, 100)
    os.close(reader)
    assert (done.returncode, done.stdout) == (0, b"told\n")

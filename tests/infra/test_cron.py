"""infra/cron: what the same command mends is tried again, all else ends at once and is told; a stop reaches the job."""

import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "infra/cron"
# Stands for Python: notes its arguments and ends with the next code of a list.
STAND_IN = """#!/bin/bash
echo "$@" >> "$0.calls"
read -r code < "$0.codes"
sed -i 1d "$0.codes"
exit "$code"
"""
# Stands for a job that drains: it ends with 143 when it is told to stop, and not at once.
DRAINING = """#!/bin/bash
trap 'sleep 0.3; echo drained >> "$0.calls"; exit 143' TERM
echo began >> "$0.calls"
while :; do sleep 0.05; done
"""


@pytest.fixture
def job(tmp_path):
    """A stand-in for Python, and the environment in which the script uses it and tells of failures."""
    path = tmp_path / "python"

    def make(text: str, *codes: int) -> dict[str, str]:
        path.write_text(text)
        path.chmod(0o755)
        Path(f"{path}.codes").write_text("".join(f"{code}\n" for code in codes))
        alert = f"cat >> {shlex.quote(str(tmp_path / 'alert'))}"
        return {**os.environ, "PYTHON": str(path), "EMBED_WAIT_S": "0", "EMBED_ALERT": alert}

    return make


def embed(environment: dict[str, str], *overrides: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", FOLDER / "embed.sh", *overrides]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("codes", "ended", "is_told"),
    [
        ((0,), 0, False),
        ((75, 143, 137, 0), 0, False),
        ((75, 64), 64, True),
        *(((code,), code, True) for code in (3, 65, 73, 77, 78, 1)),
        ((75,) * 6, 75, True),
    ],
)
def test_what_the_same_command_mends_is_tried_again_and_the_rest_is_told_at_once(job, tmp_path, codes, ended, is_told):
    environment = job(STAND_IN, *codes)
    overrides = ["source.uri=s3://bucket/a folder", "features.levels=[2]"]
    done = embed(environment, *overrides)
    assert done.returncode == ended, done.stderr
    calls = (tmp_path / "python.calls").read_text().splitlines()
    assert calls == [" ".join(["jobs/embed.py", *overrides])] * len(codes), "the same command, once a code"
    alert = tmp_path / "alert"
    assert alert.exists() == is_told
    if is_told:
        assert f"exit code {ended} at attempt {len(codes)}" in alert.read_text()
        assert "bucket" not in alert.read_text(), "mail is no place for command lines"


@pytest.mark.parametrize("wait_s", ["0", "30"])
def test_a_stop_reaches_the_job_which_drains_and_is_not_begun_again(job, tmp_path, wait_s):
    waiting = wait_s != "0"
    environment = {**(job(STAND_IN, 75) if waiting else job(DRAINING)), "EMBED_WAIT_S": wait_s}
    script = subprocess.Popen(["bash", FOLDER / "embed.sh"], env=environment, stderr=subprocess.PIPE, text=True)
    calls, until = tmp_path / "python.calls", time.monotonic() + 30
    while not calls.exists() and time.monotonic() < until:
        time.sleep(0.05)
    if waiting:
        assert "again in 30 s" in script.stderr.readline()
    script.send_signal(signal.SIGTERM)
    _, told = script.communicate(timeout=20)
    assert script.returncode == (75 if waiting else 143), told
    assert calls.read_text().splitlines()[1:] == ([] if waiting else ["drained"])
    assert not (tmp_path / "alert").exists(), "whoever stopped it knows"


def test_under_ray_which_signals_every_process_the_job_hears_of_a_stop_once(job, tmp_path):
    environment = {**job(DRAINING), "RAY_JOB_CONFIG_JSON_ENV_VAR": "{}"}
    counting = DRAINING.replace("trap '", 'trap \'echo told >> "$0.calls"; ')
    (tmp_path / "python").write_text(counting)
    script = subprocess.Popen(["bash", FOLDER / "embed.sh"], env=environment)
    calls, until = tmp_path / "python.calls", time.monotonic() + 30
    while not calls.exists() and time.monotonic() < until:
        time.sleep(0.05)
    (child,) = map(int, Path(f"/proc/{script.pid}/task/{script.pid}/children").read_text().split())
    for process in (script.pid, child):  # as Ray's job supervisor does it
        os.kill(process, signal.SIGTERM)
    assert script.wait(20) == 143
    assert calls.read_text().splitlines() == ["began", "told", "drained"]


def test_the_table_is_one_that_cron_takes_and_runs_the_script_with_overrides():
    lines = [line for line in (FOLDER / "crontab").read_text().splitlines() if not line.startswith("#")]
    settings = [line for line in lines if re.fullmatch(r"[A-Z_]+=\S+", line)]
    (entry,) = [line for line in lines if line not in settings]
    *times, command = entry.split(None, 5)
    assert len(times) == 5
    assert all(re.fullmatch(r"\*|\d+", field) for field in times)
    assert "%" not in command.replace(r"\%", ""), "cron makes new lines of these"
    words = shlex.split(command)
    assert words[:2] == ["bash", "/opt/sam2-embed/infra/cron/embed.sh"]
    assert {"source.uri", "sink.uri", "model.checkpoint"} <= {word.partition("=")[0] for word in words}


def test_a_failed_night_prints_the_end_of_its_log_and_a_good_one_nothing(job, tmp_path):
    entry = (FOLDER / "crontab").read_text().splitlines()[-1].split(None, 5)[5]
    command = entry.replace("/opt/sam2-embed", str(REPOSITORY))
    for code, is_mailed in ((0, False), (64, True)):
        environment = {**job(STAND_IN, code), "EMBED_LOG": str(tmp_path / "log")}
        done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=False)
        assert bool(done.stdout + done.stderr) == is_mailed
    assert "exit code 64" in done.stdout

"""How the process of a job ends: with its code, all it printed and all it registered, whatever threads are left."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

PROGRAM = """
import atexit, sys, threading
sys.path.insert(0, "jobs")
from job import run_job
from pipeline.errors import SinkError

def job(values, overrides):
    atexit.register(print, "goodbye")
    threading.Thread(target=threading.Event().wait).start()  # an interpreter would wait for it, for ever
    print("done", values["sink"]["uri"])
    if values["level"] == "full":
        raise SinkError("not everything is there")

run_job("verify", job)
"""


def end(*overrides: str, **streams: object) -> subprocess.CompletedProcess[str]:
    """The end of a job that leaves a thread behind."""
    command = [sys.executable, "-c", PROGRAM, *overrides]
    return subprocess.run(
        command, cwd=REPOSITORY, text=True, timeout=60, check=False, stderr=subprocess.PIPE, **{"stdout": -1, **streams}
    )


def test_a_job_ends_when_it_is_done_and_says_all_it_has_to_say():
    done = end("sink.uri=/data/features")
    assert (done.returncode, done.stdout, done.stderr) == (0, "done /data/features\ngoodbye\n", "")


def test_an_error_ends_it_in_the_same_way_with_its_own_code():
    done = end("sink.uri=/data/features", "level=full")
    assert done.stdout == "done /data/features\ngoodbye\n"
    assert done.stderr == "error: not everything is there\n"
    assert done.returncode == 73


def test_output_that_nobody_could_read_is_no_success():
    with Path("/dev/full").open("w") as full:
        done = end("sink.uri=/data/features", stdout=full)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr

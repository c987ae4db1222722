"""Nothing that the nursery started outlives whoever started the nursery."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.chaos.children import REPOSITORY, Nursery

# Starts a child that sleeps and one that stands still, and says who they are.
HOLDER = """
import sys, time
from pathlib import Path
from tests.chaos.children import Nursery
with Nursery(Path(sys.argv[1])) as nursery:
    sleeping, stopped = (nursery.start("signal:pause") for _ in range(2))
    stopped.stop()
    assert stopped.wait_stopped()
    print(nursery.pid, sleeping.pid, stopped.pid, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def nursery(tmp_path):
    with Nursery(tmp_path) as nursery:
        yield nursery


def require_gone(pids):
    until = time.monotonic() + 10
    while alive := [pid for pid in pids if psutil.pid_exists(pid)]:
        assert time.monotonic() < until, [psutil.Process(pid) for pid in alive]
        time.sleep(0.02)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_all_end_with_whoever_started_them(end, tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    holder = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    with holder:
        pids = [int(pid) for pid in holder.stdout.readline().split()]
        assert len(pids) == 3
        holder.send_signal(end)
    require_gone(pids)


def test_all_end_with_a_nursery_that_is_killed(nursery):
    child = nursery.start("signal:pause")
    os.kill(nursery.pid, signal.SIGKILL)
    require_gone([child.pid])


def test_a_child_is_a_process_of_its_own(nursery):
    one, two = nursery.start("os:getpid"), nursery.start("os:getppid")
    assert (one.wait(), two.wait()) == (0, 0)
    assert one.result() == one.pid
    assert two.result() == nursery.pid


def test_how_children_end(nursery):
    killed, broken = nursery.start("signal:pause"), nursery.start("os:listdir", path="/nowhere")
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert broken.wait() == 70
    assert "FileNotFoundError" in broken.log()
    killed.kill()  # it has ended, and its process id may be another's by now: nothing happens
    with pytest.raises(RuntimeError, match="ended with 70"):
        nursery.run("os:listdir", path="/nowhere")


def test_a_child_has_the_environment_it_was_given(nursery):
    assert nursery.run("os:getenv", {"CHAOS": "yes"}, key="CHAOS") == "yes"
    assert nursery.run("os:getenv", key="CHAOS") is None

"""The gate: open until it is closed, then it waits for the units inside, which it counts; on a real Ray of its own."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.cluster

# Two units are inside; the gate is closed; one leaves, then the other; then the gate itself is gone. Another gate lets
# a unit in whose encoder is lost, and that comes again.
STORY = r"""
import json, logging, re, sys, time, urllib.request
from pathlib import Path
import ray
from pipeline.execution.gate import Gate

ray.init(address="local", num_cpus=4, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
folder, told = Path(sys.argv[1]), {}

@ray.remote
def unit(gate, number, name):
    entered = gate.enter(number)
    (folder / f"{name}-entered").touch()
    while not (folder / f"{name}-may-leave").exists():
        time.sleep(0.01)
    if entered:
        gate.leave(number)
    return entered

def wait_for(name):
    while not (folder / name).exists():
        time.sleep(0.01)

def exported():
    node = ray.nodes()[0]
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    text = urllib.request.urlopen(address, timeout=10).read().decode()
    return {name: float(value) for name, value in re.findall(
        r'^ray_sam2_embed_(units_in_flight|retries_total){[^}]*run="7"[^}]*} (\S+)', text, re.MULTILINE)}

gate = Gate("/features", 1)
told["nobody inside"] = Gate("/features", 2).drain(0)
counted = Gate("/features", 7)
for number in (0, 1, 1, 2):
    assert counted.enter(number)
counted.leave(0)
first, second = unit.remote(gate, 1, "first"), unit.remote(gate, 2, "second")
wait_for("first-entered")
wait_for("second-entered")
told["two inside"] = gate.drain(0)
told["after closing"] = gate.enter(3)
third = unit.remote(gate, 3, "third")
wait_for("third-entered")
(folder / "third-may-leave").touch()
told["third, from elsewhere"] = ray.get(third)
(folder / "first-may-leave").touch()
told["first"] = ray.get(first)
told["one inside"] = gate.drain(0.5)
(folder / "second-may-leave").touch()
told["waited for the last"] = gate.drain(60)
told["second"] = ray.get(second)

lost = Gate("/features", 3)
lost.enter(1)
ray.kill(lost._actor)
told["entering a gate that is gone"] = lost.enter(2)
lost.leave(2)
told["draining a gate that is gone"] = lost.drain(60)
told["inside, the lost one once"] = counted.drain(0)
told["exported"] = {}
deadline = time.monotonic() + 20
while len(told["exported"]) < 2 and time.monotonic() < deadline:
    time.sleep(0.3)
    told["exported"] |= exported()  # a gauge is there now and then
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What everybody was told."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment["RAY_metrics_report_interval_ms"] = "1000"
    done = subprocess.run(
        [sys.executable, "-c", STORY, str(tmp_path_factory.mktemp("gate"))],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_an_open_gate_lets_units_in_and_a_closed_one_does_not(told):
    assert (told["first"], told["second"]) == (True, True)
    assert (told["after closing"], told["third, from elsewhere"]) == (False, False)


def test_draining_tells_how_many_are_inside_and_waits_for_them(told):
    counts = [told[when] for when in ("nobody inside", "two inside", "one inside", "waited for the last")]
    assert counts == [0, 2, 1, 0]


def test_a_gate_that_is_gone_stands_open_and_is_not_waited_for(told):
    assert told["entering a gate that is gone"] is True
    assert told["draining a gate that is gone"] is None


def test_units_inside_and_those_that_come_again_are_exported(told):
    assert told["inside, the lost one once"] == 2
    assert told["exported"] == {"units_in_flight": 2, "retries_total": 1}

"""docs/runbook.md, typed in as it stands there: from a killed, throttled and half-full run back to a sealed set."""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import pipeline
from tests.conftest import Finished
from tests.faults.faults import Answer
from tests.runbook_page import PAGE, commands_of, section_for

REPOSITORY = Path(__file__).resolve().parents[2]
OVERRIDES = "model=hiera_debug model.checkpoint=random execution.images_per_unit=1 execution.patience_s=2"
SAME_COMMAND = "python jobs/embed.py source.uri=$SOURCE sink.uri=$SINK $OVERRIDES"
_NUM_IMAGES = 60
_DISK = "size=200m"  # for 42 MB of features, until somebody fills it

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


class Operator:
    """Types commands of the page on a machine whose disk for features is small, as a file system of its own.

    The machine is a user namespace with mounts and processes of its own: nobody has to be root, nothing outlives it.
    """

    def __init__(self, disk: Path, environment: dict[str, str]) -> None:
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment |= {**environment, "PATH": path, "PYTHONUNBUFFERED": "1"}
        alone = ["unshare", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        mounting = f"mount -t tmpfs -o {_DISK} tmpfs '{disk}' && echo ready && exec sleep infinity"
        self._machine = subprocess.Popen([*alone, "sh", "-c", mounting], stdout=subprocess.PIPE, text=True)
        assert self._machine.stdout is not None
        if self._machine.stdout.readline() != "ready\n":
            pytest.skip("this system lets nobody but root have a file system of his own")
        (inside,) = Path(f"/proc/{self._machine.pid}/task/{self._machine.pid}/children").read_text().split()
        self._enter = ["nsenter", "--target", inside, "--user", "--mount", "--pid", "--preserve-credentials"]
        self._disk = disk

    def begin(self, command: str) -> subprocess.Popen[str]:
        """Types a command and does not wait."""
        return subprocess.Popen(
            [*self._enter, "bash", "-c", f"cd '{REPOSITORY}' && {command}"],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def type(self, command: str) -> Finished:
        """Types a command and waits for its end."""
        began, process = time.monotonic(), self.begin(command)
        out, err = process.communicate(timeout=300)
        return Finished(process.returncode, out, err, time.monotonic() - began)

    def wait_for_more(self, job: subprocess.Popen[str], count: int) -> None:
        """Until so many more units are committed than when this begins, or the job has ended."""
        until, before = time.monotonic() + 200, self._num_commits()
        while self._num_commits() < before + count and job.poll() is None and time.monotonic() < until:
            time.sleep(0.2)

    def _num_commits(self) -> int:
        return len(self.type(f"ls {self._disk}/features/runs/000001/commits").out.splitlines())

    def leave(self) -> None:
        """Ends the machine with all that runs on it."""
        self._machine.kill()
        self._machine.wait()


@pytest.fixture
def operator(fault_proxy, s3_server, bucket, make_photos, tmp_path) -> Iterator[Operator]:
    """Somebody with photographs in a bucket, a small disk and the page."""
    for name in make_photos(tmp_path / "photos", _NUM_IMAGES):
        body = (tmp_path / "photos" / name).read_bytes()
        s3_server.client.put_object(Bucket=bucket, Key=f"photos/{name}", Body=body)
    disk = tmp_path / "disk"
    disk.mkdir()
    places = {"SOURCE": f"s3://{bucket}/photos", "SINK": f"{disk}/features", "OVERRIDES": OVERRIDES}
    somebody = Operator(disk, {**fault_proxy.environment(), **places})
    yield somebody
    somebody.leave()


def test_an_operator_with_the_runbook_alone_brings_a_killed_throttled_and_half_full_run_back_to_sealed(
    operator: Operator, fault_proxy, tmp_path: Path
):
    assert SAME_COMMAND in PAGE
    job = operator.begin(SAME_COMMAND)
    operator.wait_for_more(job, 3)
    operator.type("pkill -9 -f '[j]obs/embed.py'; pkill -9 raylet; pkill -9 gcs_server")  # of this machine alone
    said = job.communicate()
    assert job.returncode in (-9, 137), said

    fault_proxy.install(Answer(503, "SlowDown", operation="GetObject", key="photos"))
    look, same, _ = commands_of("half-finished-run")
    found = operator.type(look)
    assert found.code == 0, str(found)
    assert "open" in found.out, str(found)
    ended = operator.type(same)
    assert section_for(ended.code, ended.err) == "throttling", str(ended)

    fault_proxy.clear()
    storm = fault_proxy.install(Answer(503, "SlowDown", operation="GetObject", key="photos", probability=0.15, seed=1))
    (patient,) = commands_of("throttling")
    job = operator.begin(patient)
    operator.wait_for_more(job, 3)
    operator.type(f"cat /dev/zero > {tmp_path}/disk/of_somebody_else")
    said = job.communicate()
    assert "cannot write below" in said[1], said
    assert section_for(job.returncode, said[1]) == "full-disk", said

    usage, orphans, same = commands_of("full-disk")
    again = operator.type(same)
    assert "is too small" in again.err, str(again)
    assert section_for(again.code, again.err) == "full-disk", str(again)
    assert re.search(r"\b(9\d|100)%", operator.type(usage).out)
    assert operator.type(orphans).code == 0
    assert operator.type(f"rm {tmp_path}/disk/of_somebody_else").code == 0
    ended = operator.type(same)
    assert ended.code == 0, str(ended)
    assert "sealed run 1" in ended.out
    assert storm.fired

    for command in commands_of("half-finished-run"):
        ended = operator.type(command)
        assert ended.code == 0, str(ended)
    settings = operator.type(*commands_of("wrong-checkpoint"))
    assert '"random"' in settings.out, str(settings)
    copied = operator.type(f"cp -r {tmp_path}/disk/features {tmp_path}/copied")
    assert copied.code == 0, str(copied)
    features = pipeline.open_features(str(tmp_path / "copied"))
    assert Counter(features.image_ids) == Counter(f"{number:05d}.jpg" for number in range(_NUM_IMAGES))
    assert features.quarantine.num_rows == 0

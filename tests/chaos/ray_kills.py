"""The real job on a real Ray of two nodes, whose processes are killed one after another while it works."""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from PIL import Image

from pipeline.sources.sample import SampleSource
from tests.chaos.outcome import Outcome
from tests.chaos.ray_cluster import RayCluster
from tests.expected import Difference, difference

REPOSITORY = Path(__file__).resolve().parents[2]
VICTIMS = ("encoder", "fetcher", "decoder", "driver", "terminated driver", "node", "head")
# What a job may end with when such a process was killed under it.
_CODES = {"driver": {-signal.SIGKILL}, "terminated driver": {143}, "head": {75}}
_NUM_IMAGES = 240
_WAIT_S = 150.0


def drill(num_kills: int, rng: random.Random, victims: tuple[str, ...] = VICTIMS) -> Outcome:
    """Kills `num_kills` processes of jobs that embed photographs, and compares every set with the plain encoder.

    Args:
        num_kills: how many.
        rng: chooses order and instants.
        victims: kinds of processes; each comes up before any comes again.
    """
    began = time.monotonic()
    queue = [victim for _ in range(-(-num_kills // len(victims))) for victim in rng.sample(victims, len(victims))]
    folder = Path(tempfile.mkdtemp(prefix="ray-kills-"))
    try:
        names = _make_photographs(folder / "photos")
        table = _Table(folder, names, rng)
        table.work_off(queue[:num_kills])
        return Outcome(
            name="ray_kills",
            faults=num_kills,
            planned=table.num_planned,
            lost=sum(len(each.lost) for each in table.differences),
            duplicated=sum(len(each.duplicated) for each in table.differences),
            wrong=sum(len(each.wrong) for each in table.differences),
            seconds=time.monotonic() - began,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Table:
    """Jobs, clusters and feature sets, one after another, until all kills are done and the last set is sealed."""

    def __init__(self, folder: Path, names: list[str], rng: random.Random) -> None:
        self._folder, self._names, self._rng = folder, names, rng
        self.differences: list[Difference] = []
        self.num_planned = 0
        self._num_sets = 0

    def work_off(self, victims: list[str]) -> None:
        """Kills each of these."""
        remaining = list(victims)
        while remaining:
            with RayCluster() as cluster:
                while remaining:
                    if self._embed(cluster, remaining) == "head":
                        break  # with its head the cluster is gone
        if (self._sink() / "featureset.json").exists():
            with RayCluster() as cluster:
                self._embed(cluster, [])

    def _embed(self, cluster: RayCluster, remaining: list[str]) -> str:
        """One job, in which the next victims are killed until it ends; the last one killed."""
        job, last = _Job(cluster, self._folder / "photos", self._sink()), ""
        job.wait_for_commits(self._rng.randint(1, 5))
        while remaining and job.is_on():
            time.sleep(self._rng.uniform(0, 1.5))
            last = remaining[0]
            if not job.is_on() or not _kill(last, cluster, job):
                break
            remaining.pop(0)
            if last == "node":
                cluster.add_node()
            if last in _CODES:
                break
        self._end(job, last)
        return last

    def _end(self, job: "_Job", last: str) -> None:
        code = job.code()
        if code == 0:
            self.differences.append(difference(self._sink(), self._folder / "photos", self._names))
            self.num_planned += len(self._names)
            shutil.rmtree(self._sink())
            self._num_sets += 1
        elif code not in _CODES.get(last, set()):
            raise AssertionError(f"after the {last or 'last kill'} the job ended with {code}:\n{job.said()}")

    def _sink(self) -> Path:
        return self._folder / f"features-{self._num_sets}"


class _Job:
    """jobs/embed.py at work on the cluster."""

    def __init__(self, cluster: RayCluster, photos: Path, sink: Path) -> None:
        self._sink, self._log = sink, sink.with_suffix(".log")
        overrides = [f"source.uri={photos}", f"sink.uri={sink}", "model=hiera_debug", "model.checkpoint=random"]
        command = [sys.executable, "jobs/embed.py", "run.report=false", *overrides, "execution.images_per_unit=2"]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=REPOSITORY, env=cluster.environment, stdout=log, stderr=log, start_new_session=True
            )

    def is_on(self) -> bool:
        return self.process.poll() is None

    def wait_for_commits(self, count: int) -> None:
        """Until that many units more are committed, or the job has ended."""
        commits = self._sink / "runs" / "000001" / "commits"
        before, until = _num_files(commits), time.monotonic() + _WAIT_S
        while self.is_on() and _num_files(commits) < before + count and time.monotonic() < until:
            time.sleep(0.05)

    def code(self) -> int:
        """The exit code; a job that does not end is killed, which counts as a failure."""
        try:
            return self.process.wait(_WAIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise AssertionError(f"the job did not end within {_WAIT_S:.0f} s:\n{self.said()}") from None

    def said(self) -> str:
        return self._log.read_text()[-6000:]


def _kill(victim: str, cluster: RayCluster, job: _Job) -> bool:
    """Kills a process of that kind; False if the job ends before there is one."""
    find = {
        "encoder": cluster.encoders,
        "fetcher": cluster.fetchers,
        "decoder": cluster.decoders,
        "node": cluster.raylets,
        "head": lambda: [cluster.head()],
        "driver": lambda: [psutil.Process(job.process.pid)],
        "terminated driver": lambda: [psutil.Process(job.process.pid)],
    }
    while job.is_on():
        try:
            found = find[victim]()
            if found:
                found[0].send_signal(signal.SIGTERM if victim == "terminated driver" else signal.SIGKILL)
                return True
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.05)
    return False


def _num_files(folder: Path) -> int:
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def _make_photographs(folder: Path) -> list[str]:
    """Small JPEGs, each different."""
    folder.mkdir(parents=True)
    sources = [ref for batch in SampleSource().refs() for ref in batch["uri"].to_pylist()]
    names = []
    for number in range(_NUM_IMAGES):
        with Image.open(sources[number % len(sources)]) as photo:
            small = photo.convert("RGB").resize((96, 64)).rotate(number)
        names.append(f"{number:05d}.jpg")
        small.save(folder / names[-1], quality=85)
    return names

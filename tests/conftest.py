"""What tests of every room share: photographs on disk, the job as a process, and a Ray head of our own."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from pipeline.sources.sample import PHOTOGRAPHS, SampleSource

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Finished:
    """A job that has ended."""

    code: int
    out: str
    err: str
    seconds: float

    def __str__(self) -> str:
        return f"exit code {self.code} after {self.seconds:.1f} s\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def _environment(extra: dict[str, str]) -> dict[str, str]:
    """This process's environment without anybody else's Ray, with this interpreter first on the path."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{inherited.get('PATH', '')}"
    return {**inherited, "PATH": path, **extra}


class Job:
    """jobs/embed.py running in a session of its own, so that a test can end all of it."""

    def __init__(self, overrides: tuple[str, ...], environment: dict[str, str]) -> None:
        self._began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "jobs/embed.py", *overrides],
            cwd=REPOSITORY,
            env=_environment(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, timeout_s: float = 200) -> Finished:
        """Waits for the end; kills everything the job started if that takes too long."""
        try:
            out, err = self.process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            out, err = self.process.communicate()
            pytest.fail(f"the job did not end in time: {Finished(-9, out, err, timeout_s)}")
        return Finished(self.process.returncode, out, err, time.monotonic() - self._began)


@pytest.fixture
def start_on_head(ray_head: dict[str, str]) -> Callable[..., Job]:
    """Starts jobs/embed.py on the tests' Ray head."""
    return lambda *overrides: Job(overrides, ray_head)


@pytest.fixture
def start_locally() -> Callable[..., Job]:
    """Starts jobs/embed.py as a newcomer does: without a Ray, so that it starts its own."""
    return lambda *overrides: Job(overrides, {})


@pytest.fixture(scope="session")
def photographs() -> dict[str, Path]:
    """The sample photographs by name."""
    return {ref.image_id: Path(ref.uri) for ref in SampleSource().refs()}


@pytest.fixture
def make_photos(photographs: dict[str, Path]) -> Callable[[Path, int], list[str]]:
    """Fills a folder with that many different small JPEGs and gives their names."""

    def make(folder: Path, count: int) -> list[str]:
        folder.mkdir(parents=True, exist_ok=True)
        names = []
        for number in range(count):
            source = photographs[PHOTOGRAPHS[number % len(PHOTOGRAPHS)]]
            with Image.open(source) as photo:
                small = photo.convert("RGB").resize((96, 64)).rotate(number)
            names.append(f"{number:05d}.jpg")
            small.save(folder / names[-1], quality=85)
        return names

    return make


@pytest.fixture(scope="session")
def ray_head() -> Iterator[dict[str, str]]:
    """A Ray head on free loopback ports, with token authentication; the environment that finds it."""
    folder = Path(tempfile.mkdtemp(prefix="ray"))  # short: Ray's sockets live below it
    gcs, dashboard, client = _free_ports(3)
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    command = [
        *("bash", str(REPOSITORY / "infra/ray/head.sh"), "--block", f"--port={gcs}", f"--dashboard-port={dashboard}"),
        *(f"--ray-client-server-port={client}", f"--temp-dir={folder}", "--object-store-memory=500000000"),
    ]
    with (folder / "head.log").open("w") as log:
        head = subprocess.Popen(command, env=_environment(token), stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_for(f"127.0.0.1:{dashboard}", head, folder / "head.log")
        yield {
            **token,
            "RAY_ADDRESS": f"127.0.0.1:{gcs}",
            "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
        }
    finally:
        _end(head, folder)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _wait_for(address: str, head: subprocess.Popen[str], log: Path) -> None:
    host, _, port = address.partition(":")
    until = time.monotonic() + 90
    while time.monotonic() < until and head.poll() is None:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"the Ray head did not come up:\n{log.read_text()}")


def _end(head: subprocess.Popen[str], folder: Path) -> None:
    """Ends the head and everything it started, none of which listens to the head's own end."""
    for process in [head.pid, *_descendants(head.pid)]:
        os.kill(process, signal.SIGKILL)
    head.wait()
    shutil.rmtree(folder, ignore_errors=True)


def _descendants(process: int) -> list[int]:
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [each for child in map(int, children) for each in (child, *_descendants(child))]

"""What tests of every room share: photographs on disk, an S3 store, the job as a process, and a Ray head of our own."""

import contextlib
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
from s3fs import S3FileSystem

from pipeline.sources.sample import PHOTOGRAPHS, SampleSource
from tests.faults.fixtures import bucket, fault_proxy, s3_server
from tests.faults.proxied import ProxiedBucket
from tests.faults.proxy import FaultProxy

__all__ = ["bucket", "fault_proxy", "s3_server"]

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on the Ray head share one, and those of a module what it makes, when several processes run them."""
    for item in items:
        if item.get_closest_marker("cluster"):
            is_on_head = "ray_head" in getattr(item, "fixturenames", ())
            item.add_marker(pytest.mark.xdist_group("head" if is_on_head else item.location[0]))


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
    """jobs/embed.py running in a session of its own, so that a test can end all of it; no report unless asked for."""

    def __init__(self, overrides: tuple[str, ...], environment: dict[str, str]) -> None:
        self._began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "jobs/embed.py", "run.report=false", *overrides],
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
    return lambda *overrides, **environment: Job(overrides, {**ray_head, **environment})


@pytest.fixture
def start_locally() -> Callable[..., Job]:
    """Starts jobs/embed.py as a newcomer does: without a Ray, so that it starts its own."""
    return lambda *overrides, **environment: Job(overrides, environment)


@pytest.fixture(scope="session")
def photographs() -> dict[str, Path]:
    """The sample photographs by name."""
    (batch,) = SampleSource().refs()
    return {row["image_id"]: Path(row["uri"]) for row in batch.to_pylist()}


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


@pytest.fixture
def folder_in_memory() -> Iterator[Path]:
    """A folder for very many files: where it can be in memory, they are made ten times as fast."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def shared_proxy(s3_server) -> Iterator[FaultProxy]:
    """One proxy for all tests that share this process's S3 clients, which take half a second to make."""
    with FaultProxy(s3_server.endpoint) as proxy:
        yield proxy


@pytest.fixture
def store(s3_server, bucket, shared_proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProxiedBucket]:
    """A bucket behind a fault proxy, where this process's own S3 clients find it; they wait a second, not 15."""
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in shared_proxy.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(S3FileSystem, "read_timeout", 1.0)
    clients = [each._s3 for each in S3FileSystem._cache.values()]  # noqa: SLF001
    if any(client is None or client.meta.endpoint_url != shared_proxy.endpoint for client in clients):
        S3FileSystem.clear_instance_cache()  # s3fs takes clients of different environments for the same
    shared_proxy.forget()
    yield ProxiedBucket(bucket, shared_proxy, s3_server.client)
    shared_proxy.clear()
    sys.stdout.write(f"{shared_proxy}\n")


@pytest.fixture
def other_clients() -> Iterator[None]:
    """Forgets the S3 clients of this process before and after a test that needs others."""
    S3FileSystem.clear_instance_cache()
    yield
    S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def ray_folder() -> Path:
    """Where the tests' Ray head keeps its session; a short name, since Ray's sockets live below it."""
    return Path(tempfile.mkdtemp(prefix="ray"))


@pytest.fixture(scope="session")
def ray_head(ray_folder: Path) -> Iterator[dict[str, str]]:
    """A Ray head on free loopback ports, with token authentication; the environment that finds it."""
    folder = ray_folder
    gcs, dashboard, client = free_ports(3)
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment = _environment({**token, "RAY_metrics_report_interval_ms": "1000"})  # not every 10 s
    command = [
        *("bash", str(REPOSITORY / "infra/ray/head.sh"), "--block", f"--port={gcs}", f"--dashboard-port={dashboard}"),
        *(f"--ray-client-server-port={client}", f"--temp-dir={folder}", "--object-store-memory=500000000"),
        *ports_of_a_node(),
    ]
    with (folder / "head.log").open("w") as log:
        head = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_for(f"127.0.0.1:{dashboard}", head, folder / "head.log")
        yield {
            **token,
            "RAY_ADDRESS": f"127.0.0.1:{gcs}",
            "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
        }
    finally:
        _end(head, folder)


def ports_of_a_node() -> list[str]:
    """Words for `ray start`: without them, nodes of one machine take each other's agents and workers for their own."""
    listen, grpc, metrics, environments = free_ports(4)
    agents = [f"--dashboard-agent-listen-port={listen}", f"--dashboard-agent-grpc-port={grpc}"]
    agents += [f"--metrics-export-port={metrics}", f"--runtime-env-agent-port={environments}"]
    return [*agents, "--min-worker-port=0", "--max-worker-port=0"]


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listened at a moment ago."""
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
        with contextlib.suppress(ProcessLookupError):  # one may end because another has
            os.kill(process, signal.SIGKILL)
    head.wait()
    shutil.rmtree(folder, ignore_errors=True)


def _descendants(process: int) -> list[int]:
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return []
    return [each for child in map(int, children) for each in (child, *_descendants(child))]

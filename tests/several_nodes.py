"""A Ray cluster of several nodes on this machine, each the processes of one `ray start`, made by infra/ray.

Nodes share the machine's address and begin one after the other: two at once take the same socket for theirs.
"""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from tests.conftest import free_ports, ports_of_a_node

REPOSITORY = Path(__file__).resolve().parents[1]
_WAIT_S = 90.0


@dataclass(frozen=True)
class Node:
    """One node: its name in Ray, and the process that all others of it are below."""

    node_id: str
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """Ends all its processes at once, as a lost machine does."""
        if self.process.poll() is None:
            for each in [psutil.Process(self.process.pid), *_below(self.process.pid)]:
                with suppress(psutil.NoSuchProcess):
                    each.kill()
        self.process.wait()


class SeveralNodes:
    """A head that takes no work, and the nodes that are added to it; what Ray says goes to files below its folder."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ray"))  # short: Ray's sockets live below it
        self._gcs, self._dashboard, self._client = free_ports(3)
        self._nodes: list[Node] = []
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{inherited.get('PATH', '')}"
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        # A node that does not answer is dead after some seconds, where Ray takes 15 and more.
        self._of_nodes = {**inherited, "PATH": path, **token, "RAY_health_check_period_ms": "1000"}
        self.environment = {
            **self._of_nodes,
            "RAY_ADDRESS": f"127.0.0.1:{self._gcs}",
            "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{self._dashboard}",
        }

    def __enter__(self) -> Self:
        try:
            self._start(
                *("head.sh", "--num-cpus=0", f"--port={self._gcs}", f"--dashboard-port={self._dashboard}"),
                *(f"--ray-client-server-port={self._client}", f"--temp-dir={self.folder}"),
            )
            self.wait(lambda: _answers(self._dashboard), "the dashboard did not come up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in reversed(self._nodes):
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def add(self, *, num_cpus: int, num_gpus: int = 0) -> Node:
        """Another node with these logical resources."""
        address = f"127.0.0.1:{self._gcs}"
        return self._start("node.sh", address, f"--num-cpus={num_cpus}", f"--num-gpus={num_gpus}")

    def ray(self, *words: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """What a command of Ray's says."""
        return subprocess.run(
            ["ray", *words],
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def type(self, command: str) -> str:
        """What a command says that an operator types."""
        typed = ["bash", "-c", command]
        return subprocess.run(typed, env=self.environment, stdout=subprocess.PIPE, text=True, check=True).stdout

    def submit(self, name: str, *command: str) -> None:
        """Submits a job of that name with this working directory; a young head has to be asked more than once."""
        said: list[str] = []

        def is_taken() -> bool:
            done = self.ray("job", "submit", "--no-wait", "--submission-id", name, "--working-dir", ".", "--", *command)
            said.append(done.stdout + done.stderr)
            assert not done.returncode or "No available agent" in said[-1], said[-1]
            return not done.returncode

        self.wait(is_taken, "the head takes no job")

    def told(self, name: str) -> str:
        """What that job has written so far."""
        return self.ray("job", "logs", name).stdout

    def end_of(self, name: str, timeout_s: float = 120.0) -> tuple[str, str]:
        """How that job ended (`SUCCEEDED`, `FAILED`, `STOPPED`), and what it has written."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            found = re.search("succeeded|failed|stopped", self.ray("job", "status", name).stdout)
            if found:
                return found[0].upper(), self.told(name)
        raise AssertionError(f"job {name} did not end:\n{self.told(name)}")

    def wait(self, condition: Callable[[], bool], complaint: str) -> None:
        """Until it holds."""
        until = time.monotonic() + _WAIT_S
        while not condition():
            if time.monotonic() > until:
                logs = "\n".join(f"{log}:\n{log.read_text()[-3000:]}" for log in self.folder.glob("*.log"))
                raise RuntimeError(f"{complaint}\n{logs}")
            time.sleep(0.2)

    def _start(self, script: str, *words: str) -> Node:
        log = self.folder / f"node{len(self._nodes)}.log"
        common = ["--block", "--object-store-memory=200000000", *ports_of_a_node()]
        with log.open("w") as said:
            process = subprocess.Popen(
                ["bash", str(REPOSITORY / "infra/ray" / script), *words, *common],
                env=self._of_nodes,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        node = Node("", process)
        self._nodes.append(node)
        self.wait(lambda: "Ray runtime started" in log.read_text() or process.poll() is not None, "no node came up")
        raylet = next((each for each in _below(process.pid) if each.name() == "raylet"), None)
        assert raylet is not None, f"no node came up:\n{log.read_text()}"
        (named,) = [word for word in raylet.cmdline() if word.startswith("--node_id=")]
        self._nodes[-1] = Node(named.partition("=")[2], process)
        return self._nodes[-1]


def _below(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def _answers(port: int) -> bool:
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    return False

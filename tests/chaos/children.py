"""The near end of the nursery: starts processes there, and signals and awaits them."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

REPOSITORY = Path(__file__).resolve().parents[2]
KILLED = -signal.SIGKILL


class Child:
    """A process that runs one call; `code` is its exit code, None while it runs."""

    def __init__(self, nursery: "Nursery", number: int, folder: Path) -> None:
        self._nursery, self._number = nursery, number
        self.pid: int | None = None
        self.code: int | None = None
        self.log_path, self.result_path = folder / f"{number}.log", folder / f"{number}.json"
        self.started, self.ended = threading.Event(), threading.Event()

    def signal(self, number: int) -> None:
        """Sends a signal, unless the process has ended."""
        self._nursery.order(child=self._number, signal=number)

    def kill(self) -> None:
        """SIGKILL."""
        self.signal(signal.SIGKILL)

    def stop(self) -> None:
        """SIGSTOP."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    def wait(self, timeout_s: float = 120) -> int:
        """The exit code, once it has ended."""
        if not self.ended.wait(timeout_s):
            self.kill()
            raise TimeoutError(f"process {self.pid} did not end within {timeout_s} s: {self.log()}")
        assert self.code is not None
        return self.code

    def wait_stopped(self, timeout_s: float = 10) -> bool:
        """Whether SIGSTOP met it alive; returns when it stands still."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until and not self.ended.is_set():
            stat = Path(f"/proc/{self.pid}/stat")
            if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "T":
                return True
            time.sleep(0.001)
        return False

    def result(self) -> Any:
        """What the call returned."""
        return json.loads(self.result_path.read_text())

    def log(self) -> str:
        """What it printed, and its last error."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""


class Nursery:
    """Starts processes for the length of a `with` block; none of them outlives it.

    Args:
        folder: for what they print and return, and for their temporary files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: list[Child] = []
        self._lock = threading.Lock()
        self._ready = threading.Event()

    def __enter__(self) -> Self:
        temporary = self._folder / "tmp"  # killed processes leave things there
        temporary.mkdir(parents=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.nursery"],
            cwd=REPOSITORY,
            env={**os.environ, "TMPDIR": str(temporary), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the drills; they end the nursery when they have ended themselves
        )
        self._listener = threading.Thread(target=self._listen, name="nursery", daemon=True)
        self._listener.start()
        if not self._ready.wait(60):
            self.__exit__()
            raise RuntimeError("the nursery did not come up")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()  # and the kernel its children
            self._process.wait()
        self._listener.join(10)
        self._process.stdout.close()

    @property
    def pid(self) -> int:
        """The process all others are forked from."""
        return self._process.pid

    def start(self, call: str, environment: Mapping[str, str] | None = None, **arguments: Any) -> Child:
        """A process that calls `module:function`; its end is what the call came to."""
        with self._lock:
            child = Child(self, len(self._children), self._folder)
            self._children.append(child)
        files = {"log": str(child.log_path), "result": str(child.result_path)}
        number = int(child.log_path.stem)
        self.order(child=number, call=call, arguments=arguments, environment=dict(environment or {}), **files)
        assert child.started.wait(30), "the nursery started nothing"
        return child

    def run(self, call: str, environment: Mapping[str, str] | None = None, **arguments: Any) -> Any:
        """The value of the call, from a process of its own."""
        child = self.start(call, environment, **arguments)
        if child.wait() != 0:
            raise RuntimeError(f"{call} ended with {child.code}: {child.log()}")
        return child.result()

    def order(self, **order: Any) -> None:
        """Sends an order."""
        assert self._process.stdin is not None
        with self._lock:
            self._process.stdin.write(f"{json.dumps(order)}\n".encode())
            self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if "ready" in said:
                self._ready.set()
                continue
            child = self._children[said["child"]]
            if "pid" in said:
                child.pid = said["pid"]
                child.started.set()
            else:
                child.code = said["code"]
                child.ended.set()

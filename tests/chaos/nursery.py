"""A process that has imported everything and does nothing but fork: real processes, ready in milliseconds.

It takes orders as JSON lines on its stdin, says on its stdout how its children end, and ends them all with its stdin.
"""

import asyncio
import ctypes
import gc
import json
import os
import selectors
import signal
import sys
import threading
import traceback
from importlib import import_module
from typing import Any, ClassVar, NoReturn

from aiobotocore.session import AioSession
from botocore import loaders

from pipeline.errors import PipelineError

_MODULES = ("duckdb", "pandas", "pipeline.storage.s3", "tests.chaos.writer", "tests.chaos.checker")
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class Nursery:
    """The loop: orders in, children out."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._selector.register(0, selectors.EVENT_READ)
        self._children: dict[int, int] = {}  # process id by the number the order gave
        self._unread = b""

    def serve(self) -> None:
        """Obeys until stdin closes."""
        assert threading.active_count() == 1, "a thread would not come along into the children"
        _say(ready=os.getpid())
        while True:
            for key, _ in self._selector.select():
                if key.fd != 0:
                    self._reap(key.fd, key.data)
                elif data := os.read(0, 65_536):
                    self._obey(data)
                else:
                    self._end()
                    return

    def _obey(self, data: bytes) -> None:
        *lines, self._unread = (self._unread + data).split(b"\n")
        for order in map(json.loads, lines):
            if "call" in order:
                self._start(order)
            elif order["child"] in self._children:
                os.kill(self._children[order["child"]], order["signal"])

    def _start(self, order: dict[str, Any]) -> None:
        pid = os.fork()
        if pid == 0:
            self._selector.close()
            _live(order)
        self._children[order["child"]] = pid
        self._selector.register(os.pidfd_open(pid), selectors.EVENT_READ, order["child"])
        _say(child=order["child"], pid=pid)

    def _reap(self, pidfd: int, child: int) -> None:
        _, status = os.waitpid(self._children.pop(child), 0)
        self._selector.unregister(pidfd)
        os.close(pidfd)
        _say(child=child, code=os.waitstatus_to_exitcode(status))

    def _end(self) -> None:
        for pid in self._children.values():
            os.kill(pid, signal.SIGKILL)
        for pid in self._children.values():
            os.waitpid(pid, 0)


class _RememberingLoader(loaders.Loader):
    """The SDK's own description of S3, read once for all children instead of twice in each."""

    _remembered: ClassVar[dict[Any, Any]] = {}

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._cache = self._remembered


def _live(order: dict[str, Any]) -> NoReturn:
    """A child's life: one call, whose value goes to a file, and an exit code."""
    code = 70
    try:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _redirect(order["log"])
        os.environ.update(order["environment"])
        module, _, function = order["call"].partition(":")
        value = getattr(import_module(module), function)(**order["arguments"])
        with open(order["result"], "w") as stream:  # noqa: PTH123
            json.dump(value, stream)
        code = 0
    except PipelineError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        code = error.exit_code
    except BaseException:  # noqa: BLE001  a child must not return into the nursery's loop
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _redirect(log: str) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for target, place in ((nothing, 0), (written, 1), (written, 2)):
        os.dup2(target, place)


def _say(**said: int) -> None:
    os.write(1, f"{json.dumps(said)}\n".encode())


async def _make_s3_client() -> None:
    async with AioSession().create_client("s3", region_name="us-east-1"):
        pass


def main() -> None:
    """Imports what children will need, then serves."""
    for name in _MODULES:
        import_module(name)
    loaders.Loader = _RememberingLoader
    asyncio.run(_make_s3_client())
    gc.collect()
    gc.freeze()
    Nursery().serve()
    os._exit(0)


if __name__ == "__main__":
    main()

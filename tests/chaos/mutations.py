"""The writer, with an audit hook that sees every change of files below its sink and may send a signal before one."""

import os
import signal
import sys
from collections.abc import Callable
from io import BufferedWriter
from pathlib import Path
from types import FrameType
from typing import Any

from tests.chaos.writer import write

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# Audited events and which of their arguments is the path that changes.
_CHANGES = {"os.link": 1, "os.remove": 0, "os.rename": 1, "os.rmdir": 0, "os.truncate": 0, "os.symlink": 1}


def write_until(point: int, *, sink_uri: str, sign: int = signal.SIGKILL, **arguments: Any) -> list[str]:
    """The command, which gets a signal just before the `point`-th change below the sink; the changes, if it lives.

    Changes count from 1: files opened for writing, written to and flushed, folders made, links, removals; and there is
    a point after each fsync. The last one of all is when the command has done everything but end.
    """
    points: list[str] = []

    def reached(what: str) -> None:
        points.append(what)
        if len(points) == point:
            sys.stderr.write(f"{signal.Signals(sign).name} before change {point}: {what}\n")
            sys.stderr.flush()
            os.kill(os.getpid(), sign)

    watch_changes(sink_uri, reached)
    sys.setprofile(_calls(sink_uri, reached))
    write(sink_uri=sink_uri, **arguments)
    sys.setprofile(None)
    reached("the end of the process")
    return points


def watch_changes(sink: str, reached: Callable[[str], None]) -> None:
    """Calls `reached` before every change below `sink`, for the rest of this process's life."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        path = _changed(event, arguments)
        if path.startswith(f"{sink}/") or path == sink:
            reached(f"{event} {path.removeprefix(sink)}")

    sys.addaudithook(hook)


def _changed(event: str, arguments: tuple[Any, ...]) -> str:
    """The path that is about to change; empty if none is."""
    if event in _CHANGES:
        return os.fspath(arguments[_CHANGES[event]])
    if event == "os.mkdir" and not Path(arguments[0]).exists():
        return os.fspath(arguments[0])
    if event == "open" and isinstance(arguments[0], str | os.PathLike) and arguments[2] & _WRITING:
        return os.fspath(arguments[0])
    return ""


def _calls(sink: str, reached: Callable[[str], None]) -> Callable[[FrameType, str, Any], None]:
    """What has no audit event: the interpreter tells a profiler about calls into C, too."""
    begun: set[str] = set()

    def profile(_: FrameType, event: str, called: Any) -> None:
        if event == "c_return" and called is os.fsync:
            reached("after fsync")
        if event != "c_call" or not isinstance(getattr(called, "__self__", None), BufferedWriter):
            return
        path = os.fspath(called.__self__.name)
        is_first = called.__name__ == "write" and path not in begun
        if path.startswith(sink) and (is_first or called.__name__ == "flush"):
            begun.add(path)
            reached(f"{'first write' if is_first else 'flush'} {path.removeprefix(sink)}")

    return profile

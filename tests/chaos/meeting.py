"""Writers on local disk that wait for one another just before each link that decides something, and then all go."""

import mmap
import os
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from tests.chaos.mutations import watch_changes
from tests.chaos.writer import write

# The names that only one of several writers can create.
DECISIVE = ("/featureset.json", "/run.json", "/commits/", "/manifest.json")
_TIMEOUT_S = 3.0


class Meeting:
    """A byte for each party in a shared file, which counts the meetings it has come to.

    Args:
        path: the file, as many zeros as there are parties.
        party: which byte is one's own.
    """

    def __init__(self, path: str, party: int) -> None:
        with Path(path).open("r+b") as stream:
            self._came = mmap.mmap(stream.fileno(), 0)
        self._party = party
        self.met = 0

    def come(self) -> None:
        """Returns when all others have come as often, or after a time limit."""
        self._came[self._party] += 1
        until = time.monotonic() + _TIMEOUT_S
        while min(self._came[:]) < self._came[self._party]:
            if time.monotonic() > until:
                return
            time.sleep(0)
        self.met += 1


def write_meeting(meeting_file: str, party: int, *, sink_uri: str, **arguments: Any) -> dict[str, Any]:
    """The command among others that run it too: how many meetings all came to, and which names this one created."""
    meeting = Meeting(meeting_file, party)
    wanted, created = [""], []

    def reached(what: str) -> None:
        event, _, wanted[0] = what.partition(" ")
        if event in ("os.link", "os.rename") and any(mark in what for mark in DECISIVE):
            meeting.come()

    def returned(_: FrameType, event: str, called: Any) -> None:
        if event == "c_return" and called in (os.link, os.rename, os.replace):
            created.append(wanted[0])

    watch_changes(sink_uri, reached)
    sys.setprofile(returned)
    write(sink_uri=sink_uri, **arguments)
    sys.setprofile(None)
    return {"met": meeting.met, "created": created}

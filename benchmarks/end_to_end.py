"""One embed job over photographs on local disk, as JSON: wall seconds, seconds an image, first image, peak memory.

python benchmarks/end_to_end.py PHOTOS SINK [override ...]
"""

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

REPOSITORY = Path(__file__).resolve().parents[1]
_LOOK_S = 1.0


class Watcher(Thread):
    """Looks at a job from outside: when its first features lie in the sink, and how much memory its processes have."""

    def __init__(self, sink: Path, session: int) -> None:
        super().__init__(daemon=True)
        self.first_s: float | None = None
        self.peak_bytes = 0
        self._sink, self._session, self._began = sink, session, time.monotonic()

    def run(self) -> None:
        """Looks until the program ends."""
        while True:
            if self.first_s is None and self._has_features():
                self.first_s = time.monotonic() - self._began
            self.peak_bytes = max(self.peak_bytes, sum(map(_own_bytes, _processes(self._session))))
            time.sleep(_LOOK_S)

    def _has_features(self) -> bool:
        """Whether a shard is begun; position encodings come first, and are done when there is a run."""
        if not any(self._sink.glob("runs/*/*.json")):
            return False
        return any(_size_bytes(path) > 1 << 20 for path in self._sink.glob("staging/*"))


def main(photos: str, sink: str, *overrides: str) -> None:
    """Prints it."""
    command = [sys.executable, "jobs/embed.py", f"source.uri={photos}", f"sink.uri={sink}", *overrides]
    began = time.monotonic()
    job = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    watcher = Watcher(Path(sink), job.pid)
    watcher.start()
    out, progress = job.communicate()
    wall_s = time.monotonic() - began
    if job.returncode:
        sys.exit(progress)
    rates = re.findall(r"([\d.]+) images/s", progress)
    facts = {"wall": wall_s, "first": watcher.first_s, "peak GB": watcher.peak_bytes / 1e9, "summary": out}
    json.dump({**facts, "steady": 1 / float(rates[-1]) if rates else None}, sys.stdout)


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _processes(session: int) -> list[Path]:
    """The job's processes; Ray's are in sessions of their own, but descend from it."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int(path.joinpath("stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
    family = {session}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return [Path("/proc") / str(pid) for pid in family]


def _own_bytes(process: Path) -> int:
    """Proportional set size, which counts a shared page once over all processes."""
    try:
        found = re.search(r"^Pss:\s+(\d+) kB", process.joinpath("smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    main(*sys.argv[1:])

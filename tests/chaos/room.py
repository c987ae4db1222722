"""What drills share: a nursery for processes, a store, images, and sinks that nobody used before."""

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.chaos.checker import Verdict
from tests.chaos.children import Child, Nursery
from tests.chaos.images import fill
from tests.chaos.outcome import Outcome
from tests.faults.proxy import FaultProxy
from tests.faults.store import S3Server

T = TypeVar("T")
WRITE = "tests.chaos.writer:write"
BUCKET = "chaos"
NUM_WORKERS = 3  # cases at once: they wait for disks and timers as much as they work
# Exit codes of a command that stopped for good reasons and may be run again: incomplete, killed.
INTERRUPTED = frozenset({75, -9})
_TRIES = 8
_SAY_EVERY_S = 5.0


@dataclass(frozen=True)
class Task:
    """One embed command: what is embedded, where to, and in which units.

    Attributes:
        source: URI of the images.
        images: a local folder with the same images.
        sink: URI of the feature set.
        size: images to a unit.
    """

    source: str
    images: Path
    sink: str
    size: int

    @property
    def arguments(self) -> dict[str, Any]:
        """For the writer."""
        return {"source_uri": self.source, "sink_uri": self.sink, "images_per_unit": self.size}

    def place(self, **more: Any) -> dict[str, Any]:
        """For the checker."""
        return {"sink": self.sink, "source": self.source, "images": str(self.images), **more}


class Room:
    """The shared things, for the length of a `with` block; no process outlives it.

    Args:
        folder: an empty one, for everything that is written.
        is_loud: whether to say how far drills are.
    """

    def __init__(self, folder: Path, *, is_loud: bool = False) -> None:
        self._folder, self._is_loud = folder, is_loud
        self._numbers = itertools.count(1)
        self._said_at = 0.0
        self._lock = threading.Lock()
        self._exits = ExitStack()
        self.nursery = Nursery(folder / "processes")
        self.server = S3Server()

    def __enter__(self) -> Self:
        (self._folder / "sinks").mkdir()
        with self._exits as stack:
            stack.enter_context(self.server)
            stack.enter_context(self.nursery)
            self.server.make_bucket(BUCKET)
            self._exits = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.__exit__(kind, error, trace)

    def task(self, count: int, size: int, *, sink: str = "local", source: str = "local", own: bool = False) -> Task:
        """A command that embeds `count` images, its `own` or those of other tasks too, in units of `size`, anew."""
        number = next(self._numbers)
        images = self._images(count, f"own-{number}" if own else str(count))
        places = {"local": f"{self._folder}/sinks/{number}", "s3": f"s3://{BUCKET}/sinks/{number}"}
        return Task(str(images) if source == "local" else self._uploaded(count, images), images, places[sink], size)

    def new_file(self, data: bytes) -> Path:
        """A file with these bytes that nobody else has."""
        path = self._folder / "processes" / f"shared-{next(self._numbers)}"
        path.write_bytes(data)
        return path

    def start(
        self, task: Task, call: str = WRITE, *, environment: Mapping[str, str] | None = None, **more: Any
    ) -> Child:
        """The command in a process of its own; talks to the store without a proxy unless told otherwise."""
        return self.nursery.start(call, environment or self.server.environment(), **task.arguments, **more)

    def finish(self, task: Task, environment: Mapping[str, str] | None = None) -> str:
        """Runs the same command until it ends well; says what was wrong if that did not happen."""
        said = ""
        for _ in range(_TRIES):
            child = self.start(task, environment=environment)
            code = child.wait()
            if code == 0:
                return said
            if code not in INTERRUPTED:
                said = said or f"exit code {code}: {child.log()[-1500:]}"
        return said or f"the run was not sealed by {_TRIES} commands; the last one said: {child.log()[-1500:]}"

    def check(self, places: Sequence[dict[str, Any]]) -> list[Verdict]:
        """The oracle's verdicts, from a process that has written nothing."""
        call, environment = "tests.chaos.checker:check", self.server.environment()
        return [Verdict(**found) for found in self.nursery.run(call, environment, places=list(places))]

    def read(self, task: Task, environment: Mapping[str, str]) -> str:
        """What a reader makes of the feature set: a digest, the error it names, or how else it ended."""
        child = self.nursery.start("tests.chaos.checker:read", environment, sink=task.sink)
        return str(child.result()) if child.wait() == 0 else f"exit code {child.code}: {child.log()[-1500:]}"

    def copy(self, task: Task) -> Task:
        """The same feature set on local disk, copied by boto3: for the oracle, when there are very many."""
        client, target = self.server.client, self._folder / "copies" / task.sink.rpartition("/")[2]
        prefix = f"{task.sink.removeprefix(f's3://{BUCKET}/')}/"
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
            for item in page.get("Contents", []):
                path = target / item["Key"].removeprefix(prefix)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(client.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read())
        return Task(task.source, task.images, str(target), task.size)

    def proxy(self) -> FaultProxy:
        """A proxy in front of the store."""
        return FaultProxy(self.server.endpoint)

    def map(
        self, name: str, case: Callable[[Any], T], points: Iterable[Any], *, num_workers: int = NUM_WORKERS
    ) -> list[T]:
        """The results of all cases, a few of them at once."""
        points = list(points)
        with ThreadPoolExecutor(num_workers) as pool:
            waiting = [pool.submit(case, point) for point in points]
            try:
                return [self.say(name, done, len(points)) or each.result() for done, each in enumerate(waiting)]
            finally:
                pool.shutdown(cancel_futures=True)

    def say(self, name: str, done: int, wanted: int) -> None:
        """How far a drill is, every few seconds."""
        if self._is_loud and time.monotonic() > self._said_at + _SAY_EVERY_S:
            self._said_at = time.monotonic()
            sys.stdout.write(f"  {name}: {done} of {wanted}\n")
            sys.stdout.flush()

    def _images(self, count: int, name: str) -> Path:
        folder = self._folder / "images" / name
        with self._lock:
            if not folder.exists():
                fill(folder, count)
        return folder

    def _uploaded(self, count: int, images: Path) -> str:
        prefix = f"images/{count}"
        with self._lock:
            if not self.server.client.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/").get("KeyCount"):
                for path in (each for each in images.rglob("*") if each.is_file()):
                    key = f"{prefix}/{path.relative_to(images)}"
                    self.server.client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
        return f"s3://{BUCKET}/{prefix}"


def judge(outcome: Outcome, cases: Sequence[tuple[str, str]], verdicts: Sequence[Verdict]) -> None:
    """Adds up cases: what was done, what went wrong on the way, and what the oracle says of the result."""
    for (fault, problem), verdict in zip(cases, verdicts, strict=True):
        outcome.add(verdict, fault)
        if problem:
            outcome.fail(f"{fault}: {problem}")

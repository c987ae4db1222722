"""What can go wrong between a client and its store, one small class each, to be installed in a FaultProxy.

A fault counts the requests it matches as they arrive, so "the k-th" means the same whatever other faults do.
"""

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from tests.faults.operations import Seen
from tests.faults.victim import kill, sender_of
from tests.faults.wire import Break, Request, Response, hang_up

Forward = Callable[[Request], Awaitable[Response]]
Place = Literal["before", "after"]

CODES = {
    403: "AccessDenied",
    404: "NoSuchKey",
    409: "ConditionalRequestConflict",
    412: "PreconditionFailed",
    500: "InternalError",
    503: "SlowDown",
}


@dataclass(kw_only=True)
class Fault:
    """Which requests a fault matches, and which of those it hits; with nothing given, every one.

    `operation` is a regular expression of the whole name, `key` a part of the key. Of the matching requests it hits
    the `at`-th (from 1), the `first` so many, or each with a `probability` drawn from `seed`.
    """

    operation: str = ""
    key: str = ""
    mutating: bool | None = None
    conditional: bool | None = None
    at: int | None = None
    first: int | None = None
    probability: float | None = None
    seed: int = 0
    matched: int = field(default=0, init=False)
    fired: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def fires(self, seen: Seen) -> bool:
        """Counts a request that has arrived, and says whether this fault hits it."""
        if not self._matches(seen):
            return False
        self.matched += 1
        hit = (
            (self.at is None or self.matched == self.at)
            and (self.first is None or self.matched <= self.first)
            and (self.probability is None or self._random.random() < self.probability)
        )
        self.fired += hit
        return hit

    async def act(self, request: Request, forward: Forward) -> Response:
        """Does the harm; `forward` delivers to the store, through the faults that were installed later."""
        raise NotImplementedError

    def _matches(self, seen: Seen) -> bool:
        return (
            (not self.operation or re.fullmatch(self.operation, seen.operation) is not None)
            and self.key in seen.key
            and self.mutating in {None, seen.mutating}
            and self.conditional in {None, seen.conditional}
        )


@dataclass(kw_only=True)
class Placed(Fault):
    """A fault `before` the store has the request, which then never arrives, or `after` the store has executed it."""

    place: Place = "before"

    async def act(self, request: Request, forward: Forward) -> Response:
        """Delivers first if the place is `after`, and loses that answer."""
        if self.place == "after":
            await forward(request)
        return await self.harm(request)

    async def harm(self, request: Request) -> Response:
        """What the client gets instead."""
        raise NotImplementedError


@dataclass
class Answer(Placed):
    """Answers with a status and an S3 error; 200 with a code is the error that S3 sends late, inside a success."""

    status: int = 503
    code: str = ""

    async def harm(self, request: Request) -> Response:  # noqa: ARG002
        return error_response(self.status, self.code)


@dataclass
class Reset(Placed):
    """Breaks the connection with a TCP reset and no answer."""

    async def harm(self, request: Request) -> Response:  # noqa: ARG002
        return hang_up("reset")


@dataclass
class Stall(Placed):
    """Sends nothing at all for so many seconds, then closes the connection."""

    seconds: float = 60

    async def harm(self, request: Request) -> Response:  # noqa: ARG002
        await asyncio.sleep(self.seconds)
        return hang_up("close")


@dataclass
class Kill(Placed):
    """SIGKILLs a process, or whichever sent the request; goes on when it is dead, with a reset connection."""

    pid: int | None = None

    async def harm(self, request: Request) -> Response:
        await kill(self.pid or sender_of(request.peer_port))
        return hang_up("reset")


@dataclass
class Delay(Fault):
    """A slow store: holds a request back for so many seconds; nothing else happens to it."""

    seconds: float = 1

    async def act(self, request: Request, forward: Forward) -> Response:
        await asyncio.sleep(self.seconds)
        return await forward(request)


@dataclass
class Cut(Fault):
    """Sends the head with the full Content-Length and a share of the body, waits, then closes or resets."""

    share: float = 0.5
    ending: Literal["close", "reset"] = "close"
    seconds: float = 0

    async def act(self, request: Request, forward: Forward) -> Response:
        return replace(await forward(request), breaks=Break(self.ending, self.share, self.seconds))


@dataclass
class FlipBit(Fault):
    """Flips the lowest bit of one byte, the middle one unless told, on the way out or `into` the store."""

    way: Literal["out", "into"] = "out"
    offset: int | None = None

    async def act(self, request: Request, forward: Forward) -> Response:
        if self.way == "out":
            response = await forward(request)
            flipped = self._flip(response.body, 0, len(response.body))
            return response.with_body(flipped) if flipped else response  # HEAD has a length and no body
        start, end = 0, len(request.body)
        if "aws-chunked" in request.header("Content-Encoding"):  # a size in hexadecimal, then that much data
            start = request.body.index(b"\r\n") + 2
            end = start + int(request.body[: start - 2].partition(b";")[0], 16)
        return await forward(request.with_body(self._flip(request.body, start, end)))

    def _flip(self, body: bytes, start: int, end: int) -> bytes:
        if start == end:
            return body
        place = range(start, end)[(end - start) // 2 if self.offset is None else self.offset]
        return body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]


@dataclass
class Duplicate(Fault):
    """Delivers a request twice, one after the other; the client gets the first or the second answer."""

    answer: Literal["first", "second"] = "first"

    async def act(self, request: Request, forward: Forward) -> Response:
        answers = [await forward(request), await forward(request)]
        return answers[self.answer == "second"]


@dataclass
class Unconditional(Fault):
    """Takes the If-None-Match header away: a store that ignores the condition."""

    async def act(self, request: Request, forward: Forward) -> Response:
        return await forward(request.without("If-None-Match"))


@dataclass
class Late(Fault):
    """Answers with an error, or resets if `status` is 0, and delivers the request so many seconds later.

    `answers` has the status that the store gave at each late delivery, 0 if it could not be reached.
    """

    seconds: float = 1
    status: int = 503
    answers: list[int] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._tasks: set[asyncio.Task[None]] = set()

    async def act(self, request: Request, forward: Forward) -> Response:
        self._tasks.add(asyncio.create_task(self._deliver(request, forward)))
        return error_response(self.status) if self.status else hang_up("reset")

    def wait(self, timeout_s: float = 20) -> list[int]:
        """Blocks the test until all that was held back has been delivered, and gives the store's answers."""
        until = time.monotonic() + timeout_s
        while len(self.answers) < self.fired:
            assert time.monotonic() < until, f"{self.fired} held back, only {self.answers} delivered in {timeout_s} s"
            time.sleep(0.01)
        return self.answers

    async def _deliver(self, request: Request, forward: Forward) -> None:
        await asyncio.sleep(self.seconds)
        self.answers.append((await forward(request)).status)


def error_response(status: int, code: str = "") -> Response:
    """An S3 error as the store would word it."""
    name = code or CODES.get(status, "InternalError")
    text = f"<Error><Code>{name}</Code><Message>injected by the fault proxy</Message></Error>"
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()
    return Response((("Content-Type", "application/xml"),), body, status)

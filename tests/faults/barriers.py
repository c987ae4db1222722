"""Holding requests until several are there, or until the test says go; never for longer than a time limit."""

import asyncio
import time
from dataclasses import dataclass, field

from tests.faults.faults import Forward, Placed
from tests.faults.wire import Request, Response


@dataclass
class Barrier(Placed):
    """Holds requests until `parties` of them wait, then lets all go; without `parties`, until `release`.

    `place` says whether the request is held before the store has it or its answer afterwards. Whatever waits longer
    than `timeout_s` goes on and is counted in `timed_out`.
    """

    parties: int | None = None
    timeout_s: float = 10
    held: int = field(default=0, init=False)
    timed_out: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._gate = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def act(self, request: Request, forward: Forward) -> Response:
        if self.place == "before":
            await self._hold()
            return await forward(request)
        response = await forward(request)
        await self._hold()
        return response

    def wait_held(self, number: int = 1, timeout_s: float = 10) -> None:
        """Blocks the test until so many requests are held."""
        until = time.monotonic() + timeout_s
        while self.held < number:
            assert time.monotonic() < until, f"{self.held} of {number} requests held after {timeout_s} s: {self}"
            time.sleep(0.002)

    def release(self) -> None:
        """Lets go what is held now; what comes later is held again."""
        assert self._loop is not None, f"nothing was held yet: {self}"
        self._loop.call_soon_threadsafe(self._open)

    async def _hold(self) -> None:
        self._loop, gate = asyncio.get_running_loop(), self._gate
        self.held += 1
        if self.held == self.parties:
            self._open()
        try:
            await asyncio.wait_for(gate.wait(), self.timeout_s)
        except TimeoutError:
            self.timed_out += 1
            self.held -= gate is self._gate

    def _open(self) -> None:
        self._gate.set()
        self._gate, self.held = asyncio.Event(), 0

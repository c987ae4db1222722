"""Storms as lists of faults for a proxy, by name; each is made of a seed."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.faults.faults import Answer, Cut, Delay, Fault, Forward, Reset, Stall
from tests.faults.listings import SmallPages
from tests.faults.wire import Request, Response


@dataclass
class CutAnywhere(Cut):
    """A Cut at a random place of each body."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._places = random.Random(self.seed)

    async def act(self, request: Request, forward: Forward) -> Response:
        self.share = self._places.random()
        return await super().act(request, forward)


@dataclass
class FlipOne(Fault):
    """Flips a random bit in the body of the `number`-th GET that is answered with one; the key is then in `hit`."""

    number: int = 1
    operation: str = "GetObject"
    hit: str = field(default="", init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._bits = random.Random(self.seed)

    async def act(self, request: Request, forward: Forward) -> Response:
        response = await forward(request)
        self.number -= response.status in (200, 206)
        if self.number != 0 or self.hit:
            return response
        bit = self._bits.randrange(8 * len(response.body))
        body = bytearray(response.body)
        body[bit // 8] ^= 1 << bit % 8
        self.hit = f"{request.target.partition('?')[0]} {request.header('Range')} bit {bit}"
        return response.with_body(bytes(body))


def _cuts(ending: str, seed: int) -> list[Fault]:
    return [CutAnywhere(ending=ending, operation="GetObject", probability=0.1, seed=seed)]


def _all_at_once(seed: int) -> list[Fault]:
    return [
        Answer(500, probability=0.03, seed=seed),
        Answer(503, probability=0.03, place="after", seed=seed + 1),
        Reset(probability=0.03, seed=seed + 2),
        CutAnywhere(ending="reset", operation="GetObject", probability=0.05, seed=seed + 3),
        Stall(seconds=0.3, probability=0.02, seed=seed + 4),
    ]


STORMS: dict[str, Callable[[int], list[Fault]]] = {
    "503 on everything": lambda seed: [Answer(503, probability=0.1, seed=seed)],
    "lost answers": lambda seed: [
        Answer(503, probability=0.07, place="after", seed=seed),
        Reset(probability=0.07, place="after", seed=seed + 1),
    ],
    "resets within bodies": lambda seed: _cuts("reset", seed),
    "truncated bodies": lambda seed: _cuts("close", seed),
    "stalls": lambda seed: [
        Stall(seconds=0.5, probability=0.03, seed=seed),
        Stall(seconds=0.5, probability=0.03, place="after", seed=seed + 1),
        Delay(seconds=0.2, probability=0.05, seed=seed + 2),
    ],
    "all at once": _all_at_once,
    "500 on a listing page": lambda seed: [
        SmallPages(5),
        Answer(500, operation="ListObjectsV2", key="images/", at=2 + seed % 8),
    ],
    "resets on listing pages": lambda seed: [
        SmallPages(5),
        Reset(operation="ListObjectsV2", probability=0.2, seed=seed),
    ],
}

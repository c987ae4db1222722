"""Spoiled images through the decoder as a run has it, and an account of every one of them."""

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import ImageError
from pipeline.preprocessing.isolation import IsolatedDecoder
from pipeline.preprocessing.pixel_rules import PixelRules
from tests.fuzz.mutations import mutated
from tests.fuzz.seeds import FORMATS, seeds

HANG_S = 5.0
_SIDE_PX = 16
_RULES = PixelRules(max_pixels=100_000)  # so that what is merely large, and honest, takes no time
REASONS = frozenset(
    {
        "EmptyFile",
        "NotAnImage",
        "FormatNotAllowed",
        "NoPixels",
        "ImageTooLarge",
        "MetadataTooLarge",
        "TruncatedImage",
        "DamagedImage",
        "UnsupportedMode",
        "DecoderCrashed",
        "DecodeMemory",
        "DecodeTimeout",
    }
)
_LOST = frozenset({"DecoderCrashed", "DecodeMemory", "DecodeTimeout"})


@dataclass
class Account:
    """What became of the images of one format.

    Attributes:
        outcomes: how many were `decoded`, or refused for which reason.
        found: what should be looked at, by the number of the image: a lost decoder, or what ended the job.
    """

    kind: str
    num_images: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    found: dict[int, str] = field(default_factory=dict)
    num_faults: int = 0

    def add(self, other: "Account") -> None:
        """Adds what became of others."""
        self.num_images += other.num_images
        self.outcomes += other.outcomes
        self.found |= other.found
        self.num_faults += other.num_faults

    @property
    def is_complete(self) -> bool:
        """Whether every image was decoded, or refused for a reason that there is."""
        return self.outcomes.total() == self.num_images and set(self.outcomes) <= REASONS | {"decoded"}


def image(kind: str, seed: int, number: int) -> bytes:
    """The spoiled image of that number."""
    return mutated(seeds(kind), random.Random(f"{seed} {kind} {number}"))


def run(kind: str, seed: int, numbers: range, *, keep: Path | None = None) -> Account:
    """Decodes the images of these numbers in a decoder of their own.

    Args:
        kind: the format.
        seed: of all that is random.
        numbers: which images.
        keep: folder for the bytes of those that should be looked at.
    """
    account = Account(kind)
    decoder = IsolatedDecoder(side_px=_SIDE_PX, timeout_s=HANG_S, memory_bytes=2**30, rules=_RULES)
    try:
        slots = decoder.slots(1)
        for number in numbers:
            data = image(kind, seed, number)
            account.num_images += 1
            try:
                decoder.decode_into(data, slots, 0)
                account.outcomes["decoded"] += 1
                continue
            except ImageError as error:
                account.outcomes[error.error_type if str(error) else "no reason"] += 1
                said = f"{error.error_type}: {error}" if error.error_type in _LOST else None
            except Exception as error:  # noqa: BLE001  what must not happen, told so that it can be found again
                account.num_faults += 1
                said = f"the job would have ended: {type(error).__name__}: {error}"
            if said:
                account.found[number] = said
                if keep is not None:
                    (keep / f"{kind.lower()}-{seed}-{number}").write_bytes(data)
    finally:
        decoder.close()
    return account


def table(accounts: Iterable[Account]) -> str:
    """One row a reason, one column a format."""
    by_kind = {account.kind: account for account in accounts}
    kinds = [kind for kind in FORMATS if kind in by_kind]
    reasons = ["decoded", *sorted(REASONS)]
    rows = [["", *kinds], *([reason, *(f"{by_kind[kind].outcomes[reason]:,}" for kind in kinds)] for reason in reasons)]
    rows.append(["all", *(f"{by_kind[kind].num_images:,}" for kind in kinds)])
    return "\n".join(f"{row[0]:<18}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in rows)

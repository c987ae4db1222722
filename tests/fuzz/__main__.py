"""`make fuzz`: spoiled images by the million, and a table of what became of them.

Exit code 1 if one of them ended a job, hung its decoder, or is not accounted for.
"""

import argparse
import multiprocessing
import os
import secrets
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.fuzz.campaign import Account, run, table
from tests.fuzz.seeds import FORMATS

_AT_ONCE = 5_000  # images to a decoder, which takes a second to start


def main() -> int:
    """Decodes them and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000, help="how many, over all formats")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32), help="of all random choices")
    parser.add_argument("--only", metavar="FORMAT", action="append", choices=FORMATS, help=f"of {', '.join(FORMATS)}")
    parser.add_argument("--keep", type=Path, default=Path("outputs/fuzz"), help="folder for the bytes of what is found")
    chosen = parser.parse_args()
    chosen.keep.mkdir(parents=True, exist_ok=True)
    _say(f"seed {chosen.seed}, {chosen.images:,} images, {os.cpu_count()} at once")
    began = time.monotonic()
    accounts = _run_all(chosen.only or list(FORMATS), chosen.seed, chosen.images, keep=chosen.keep)
    _say(table(accounts))
    _say(f"{sum(account.num_images for account in accounts):,} images in {time.monotonic() - began:.0f} s")
    for account in accounts:
        for number, said in account.found.items():
            _say(f"{account.kind} {number}, seed {chosen.seed}, bytes in {chosen.keep}: {said}")
    is_good = all(
        account.is_complete and not account.num_faults and not account.outcomes["DecodeTimeout"] for account in accounts
    )
    return 0 if is_good else 1


def _run_all(kinds: list[str], seed: int, num_images: int, *, keep: Path) -> list[Account]:
    each = -(-num_images // len(kinds))
    ranges = [range(start, min(start + _AT_ONCE, each)) for start in range(0, each, _AT_ONCE)]
    totals = {kind: Account(kind) for kind in kinds}
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        parts = [pool.submit(run, kind, seed, numbers, keep=keep) for numbers in ranges for kind in kinds]
        for number, part in enumerate(parts, start=1):
            account = part.result()
            totals[account.kind].add(account)
            _say(f"{number}/{len(parts)}: {account.kind}, {len(account.found)} found")
    return list(totals.values())


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

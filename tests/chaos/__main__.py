"""`make chaos`: every drill in full, and a table of what was lost, duplicated or wrong; exit code 1 if anything was."""

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

from tests.chaos.drills import DRILLS
from tests.chaos.outcome import Outcome, table
from tests.chaos.room import Room


def main() -> int:
    """Runs the drills and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32), help="of all random choices")
    parser.add_argument("--quick", action="store_true", help="the small numbers of make test")
    names = [drill.name for drill in DRILLS]
    parser.add_argument("--only", metavar="NAME", action="append", choices=names, help=f"of {', '.join(names)}")
    chosen = parser.parse_args()
    _say(f"seed {chosen.seed}")
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder, Room(Path(folder), is_loud=True) as room:
        for drill in DRILLS:
            if chosen.only and drill.name not in chosen.only:
                continue
            _say(drill.name)
            outcomes.append(drill.run(room, chosen.seed, is_quick=chosen.quick))
            if not outcomes[-1].is_good:
                _say(str(outcomes[-1]))
    _say(table(outcomes))
    bad = [outcome for outcome in outcomes if not outcome.is_good]
    for outcome in bad:
        _say(f"FAILED {outcome.name}, seed {chosen.seed}\n{outcome}")
    return 1 if bad else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

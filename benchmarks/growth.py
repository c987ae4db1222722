"""Seconds an image of one run over 1, 10 and 100 thousand small JPEGs with the toy encoder, start-up taken out.

python benchmarks/growth.py [--images 1000 10000 100000]      (10 minutes and 5 GB of disk)
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from bench import ask
from photographs import make_photographs

SIZE = (160, 120)
# Different ids and places, the same few photographs: a job cannot tell.
NUM_PHOTOGRAPHS = 500
OVERRIDES = ("model=hiera_debug", "model.checkpoint=random", "features=embed")


def make_corpus(folder: Path, originals: Path, count: int) -> None:
    """Links of `count` names to the photographs, a thousand to a folder."""
    photographs = sorted(originals.iterdir())
    for number in range(count):
        place = folder / f"{number // 1000:04d}" / f"{number:06d}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.hardlink_to(photographs[number % len(photographs)])


def main() -> None:
    """Prints one row a size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", nargs="+", type=int, default=[1_000, 10_000, 100_000])
    counts = parser.parse_args().images
    folder = Path(tempfile.mkdtemp(prefix="growth-"))
    columns = ("images, hiera_debug", "whole command, s", "s an image after the first unit", "peak GB")
    print(f"| {' | '.join(columns)} |", "|---|---|---|---|", sep="\n")
    try:
        make_photographs(folder / "originals", NUM_PHOTOGRAPHS, SIZE)
        for count in counts:
            make_corpus(folder / "corpus", folder / "originals", count)
            facts = ask("end_to_end.py", str(folder / "corpus"), str(folder / "sink"), *OVERRIDES)
            print(f"| {count:,} | {facts['wall']:.1f} | {facts['steady']:.5f} | {facts['peak GB']:.2f} |", flush=True)
            shutil.rmtree(folder / "corpus")
            shutil.rmtree(folder / "sink")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()

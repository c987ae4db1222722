"""What the commit protocol costs of a run's wall time: SAM 2.1 tiny at 1024 px, 16 images to a unit, local disk.

The weights are random, which changes no cost. Seconds come from the job's own counters: planning, commits (looking for
one twice, writing one), and sealing, against the wall time from the first unit's begin to the seal:
    python benchmarks/protocol_overhead.py [--images 64]
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from photographs import make_photographs

REPOSITORY = Path(__file__).resolve().parents[1]
PROTOCOL = ("plan", "commit", "seal")
COMMAND = ["model=sam2.1_hiera_tiny", "model.checkpoint=random", "execution.images_per_unit=16"]


def run(folder: Path) -> tuple[float, dict[str, float]]:
    """One job: its wall seconds, and its seconds by step."""
    command = [sys.executable, "jobs/embed.py", f"source.uri={folder}/photos", f"sink.uri={folder}/features", *COMMAND]
    out = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    wall = re.search(r"in ([\d.]+) s$", out, re.MULTILINE)
    steps = re.search(r"^  seconds +(.*) \(added up", out, re.MULTILINE)
    assert wall, out
    assert steps, out
    pairs = (part.rsplit(" ", 1) for part in steps[1].split(", "))
    return float(wall[1]), {name: float(value) for name, value in pairs}


def main() -> None:
    """Prints the shares, and keeps them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="protocol-"))
    try:
        make_photographs(folder / "photos", options.images)
        wall_s, steps = run(folder)
    finally:
        shutil.rmtree(folder)
    spent_s = sum(steps.get(name, 0.0) for name in PROTOCOL)
    rows = [f"| {name} | {value:.1f} | {value / wall_s:.1%} |" for name, value in steps.items()]
    rows.append(f"| protocol: {', '.join(PROTOCOL)} | {spent_s:.1f} | {spent_s / wall_s:.2%} |")
    cores, today = len(os.sched_getaffinity(0)), datetime.now(UTC)
    about = f"{today:%Y-%m-%d}, {cores} cores ({platform.machine()}), {options.images} images, wall {wall_s:.1f} s"
    text = "\n".join(["# Protocol overhead", "", about, "", "| step | seconds | of wall |", "|---|---|---|", *rows, ""])
    print(text)
    (Path(__file__).parent / "results" / f"protocol_overhead_{cores}cores_{today:%Y%m}.md").write_text(text)


if __name__ == "__main__":
    main()

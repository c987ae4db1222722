"""What plans say of runs, and the runs: both with images measured first and with the table of rates, as Markdown.

python benchmarks/plan_accuracy.py [--case tiny] [--images 24] [--measure 16]
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import cpu
from photographs import SIZE, make_photographs

from pipeline.config import checked_job
from pipeline.execution.forecasting import plan
from pipeline.forecast.page import Page
from pipeline.plan_config import PlanConfig

REPOSITORY = Path(__file__).resolve().parents[1]
# Model, images, their size, images that are measured.
CASES = {
    "toy": ("hiera_debug", 600, (320, 240), 128),
    "tiny": ("sam2.1_hiera_tiny", 24, SIZE, 16),
}
# No price of these is looked at.
PRICES = dict.fromkeys(("storage_gb_month", "put_1000", "get_1000", "gpu_hour", "cpu_hour"), 0)


def planned(folder: Path, sink: Path, model: str, measure: int | None) -> Page:
    """What a plan says."""
    values = {
        "source": {"kind": "directory", "uri": str(folder)},
        "sink": {"uri": str(sink)},
        "model": {"name": model, "checkpoint": "random"},
        "features": {"kind": "fpn"},
        "preprocess": {},
        "execution": {},
        "plan": {"measure_images": measure},
        "prices": PRICES,
    }
    return plan(checked_job(values, PlanConfig)).page


def run(folder: Path, sink: Path, model: str) -> float:
    """The seconds that a run says it took."""
    command = [sys.executable, "jobs/embed.py", f"source.uri={folder}", f"sink.uri={sink}", f"model={model}"]
    done = subprocess.run(
        [*command, "model.checkpoint=random"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    found = re.search(r"^sealed run 1 of .* in ([\d.]+) s$", done.stdout, re.MULTILINE)
    if found is None:
        sys.exit(done.stderr)
    return float(found[1])


def row(what: str, said: float | None, found: float) -> None:
    """A row of the table."""
    off = "" if said is None else f"{said / found - 1:+.1%}"
    print(f"| {what} | {'not known' if said is None else f'{said:,.0f}'} | {found:,.0f} | {off} |", flush=True)


def compare(case: str, num_images: int | None, measure: int | None) -> None:
    """Plans, runs and prints what came of it; the load is that of the minute before."""
    model, count, size, usual = CASES[case]
    count, measure = num_images or count, measure or usual
    with tempfile.TemporaryDirectory(prefix="plan-accuracy-") as place:
        folder, sink = Path(place) / "photographs", Path(place) / "features"
        make_photographs(folder, count, size)
        table = planned(folder, sink, model, None)
        load_before = os.getloadavg()[0]
        page = planned(folder, sink, model, measure)
        load_between = os.getloadavg()[0]
        wall_s = run(folder, sink, model)
        load_after = os.getloadavg()[0]
        sizes = {path: path.stat().st_size for path in sink.rglob("*") if path.is_file()}
    num_shards = sum(path.parent.parent.name == "shards" for path in sizes)
    volume = page.base.volume
    loads = f"load {load_before:.1f} before, {load_between:.1f} after the plan, {load_after:.1f} after the run"
    print(f"\n## {count} images, {model}, `fpn`; {loads}\n")
    print("| | planned | found | off by |", "|---|---|---|---|", sep="\n")
    print(f"| shards | {volume.num_units} | {num_shards} | |\n| files | {volume.num_objects} | {len(sizes)} | |")
    row("bytes", volume.total_bytes, sum(sizes.values()))
    row(f"seconds, {measure} images measured", page.base.wall_s, wall_s)
    row("seconds, from the table of rates", table.base.wall_s, wall_s)


def main() -> None:
    """Prints a table a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--images", type=int)
    parser.add_argument("--measure", type=int)
    told = parser.parse_args()
    print(f"{cpu()}; `python benchmarks/plan_accuracy.py`")
    for case in told.case or CASES:
        compare(case, told.images, told.measure)


if __name__ == "__main__":
    main()

"""Rows a second and memory of a list of 1, 5 and 20 million images: read alone, and compared and cut into a plan.

Each step runs in a process of its own; the peak of the driver and that of the process that reads the list are apart.
    python benchmarks/lists.py [--rows 1000000 5000000 20000000] [--folder PLACE]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from pipeline.execution.comparison import Comparison
from pipeline.execution.plan import cut_units
from pipeline.sources.manifest import ManifestSource
from pipeline.storage.folder import Folder

_ROWS_AT_ONCE = 1_000_000


def rows(count: int) -> Iterator[pa.Table]:
    """Made-up rows: URIs of 50 characters, ids of 26, a caption of 60, a label and an ETag of 32."""
    for first in range(0, count, _ROWS_AT_ONCE):
        numbers = pa.array(np.arange(first, min(first + _ROWS_AT_ONCE, count)))
        digits = pc.utf8_lpad(numbers.cast(pa.string()), 12, "0")
        ids = pc.binary_join_element_wise("train/0000", pc.binary_join_element_wise(digits, ".jpg", ""), "/")
        yield pa.table(
            {
                "uri": pc.binary_join_element_wise("s3://photographs/2026", ids, "/"),
                "image_id": ids,
                "version": pc.utf8_lpad(pc.multiply_checked(numbers, 7919).cast(pa.string()), 32, "e"),
                "caption": pc.utf8_lpad(digits, 60, "w"),
                "label": pc.bit_wise_and(numbers, 1023),
            }
        )


def write(path: Path, count: int) -> None:
    """A list of that many rows, of the format its name says."""
    tables = rows(count)
    first = next(tables)
    if path.suffix == ".parquet":
        with pq.ParquetWriter(path, first.schema) as writer:
            for table in (first, *tables):
                writer.write_table(table)
        return
    with arrow_csv.CSVWriter(path, first.schema) as writer:
        for table in (first, *tables):
            writer.write_table(table)


def measure(path: Path, *, is_planned: bool) -> dict[str, float]:
    """Seconds and peaks of one reading in this process."""
    source = ManifestSource(str(path))
    own_peak, child_peak, is_over = 0, 0, threading.Event()

    def watch() -> None:
        nonlocal own_peak, child_peak
        while not is_over.wait(0.05):
            own_peak = max(own_peak, _resident(os.getpid()))
            children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
            child_peak = max([child_peak, *map(_resident, map(int, children))])

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    began = time.perf_counter()
    if is_planned:
        root = Folder(path.parent / "empty")
        with Comparison.of(root, source.refs(), source.schema) as compared:
            count = sum(
                pc.sum(pc.list_value_length(units["uri"])).as_py() for units in cut_units(compared.to_embed(), 8)
            )
    else:
        count = sum(batch.num_rows for batch in source.refs())
    seconds = time.perf_counter() - began
    is_over.set()
    thread.join()
    return {"seconds": seconds, "count": count, "driver": own_peak / 2**20, "reader": child_peak / 2**20}


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return 0


def main() -> None:
    """Prints one row a format, size and step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="+", type=int, default=[1_000_000, 5_000_000, 20_000_000])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--measure", type=Path)
    parser.add_argument("--plan", action="store_true")
    told = parser.parse_args()
    if told.measure:
        print(json.dumps(measure(told.measure, is_planned=told.plan)))
        return
    folder = Path(tempfile.mkdtemp(prefix="lists-", dir=told.folder))
    columns = ("list", "rows", "GB", "step", "seconds", "rows a second", "driver, peak MiB", "reader, peak MiB")
    print(f"| {' | '.join(columns)} |", "|---|---|---|---|---|---|---|---|", sep="\n")
    try:
        for suffix, count in [(suffix, count) for suffix in (".parquet", ".csv") for count in told.rows]:
            path = folder / f"list{suffix}"
            write(path, count)
            for step in ("read", "read, compared, cut into a plan"):
                command = [sys.executable, __file__, "--measure", str(path), *(["--plan"] if step != "read" else [])]
                done = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                figures = (f"{done['seconds']:.1f}", f"{count / done['seconds']:,.0f}")
                peaks = (f"{done['driver']:.0f}", f"{done['reader']:.0f}")
                size = f"{path.stat().st_size / 1e9:.2f}"
                print(f"| {' | '.join((suffix, f'{count:,}', size, step, *figures, *peaks))} |", flush=True)
            path.unlink()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()

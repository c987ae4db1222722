"""Seconds and memory to plan, resume and find nothing to do, at 100 thousand, 1 million and 10 million images.

Images are made up (ids, URIs, ETags), everything else is the real code on local disk; commits are real names of one
record, since a resume reads their names alone. Each step runs in a process of its own, so that its memory is its own:
    python benchmarks/control_plane.py [--images 100000 1000000 10000000] [--folder PLACE]
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.execution.comparison import Comparison
from pipeline.execution.plan import cut_units
from pipeline.execution.units import groups_of, num_images, remaining_units
from pipeline.featureset import catalog, paths
from pipeline.featureset.index import index_rows
from pipeline.featureset.records import CommitRecord, Manifest, RunRecord, TableFile
from pipeline.featureset.schema import INDEX, QUARANTINE, SHARDS
from pipeline.sinks.runs import Listing, claim_run
from pipeline.sinks.seal import seal_run
from pipeline.sinks.tables import write_table
from pipeline.sources.image_ref import REFS
from pipeline.storage.folder import Folder

SOURCE = {"kind": "made up"}
IMAGES_PER_UNIT = 16
_ROWS_AT_ONCE = 65_536
# A file may have so many names on ext4.
_MAX_LINKS = 60_000


def refs(count: int) -> Iterator[pa.RecordBatch]:
    """Made-up refs: ids of 26 characters, URIs of 50, ETags of 32."""
    for first in range(0, count, _ROWS_AT_ONCE):
        numbers = pa.array(np.arange(first, min(first + _ROWS_AT_ONCE, count)))
        digits = pc.utf8_lpad(numbers.cast(pa.string()), 12, "0")
        folders = pc.utf8_lpad(pc.bit_wise_and(numbers, 1023).cast(pa.string()), 4, "0")
        ids = pc.binary_join_element_wise("train", folders, pc.binary_join_element_wise(digits, ".jpg", ""), "/")
        uris = pc.binary_join_element_wise("s3://photographs/2026", ids, "/")
        etags = pc.utf8_lpad(pc.multiply_checked(numbers, 7919).cast(pa.string()), 32, "e")
        yield pa.RecordBatch.from_arrays([ids, uris, numbers, etags], schema=REFS)


def plan(root: Folder, count: int) -> dict[str, float]:
    """A first run: list, compare, sort, cut, write, claim."""
    with Comparison.of(root, refs(count)) as compared:
        units = cut_units(compared.to_embed(), IMAGES_PER_UNIT)
        seen = Listing(compared.digest)
        about = {"fingerprint": "f", "source": SOURCE, "images_per_unit": IMAGES_PER_UNIT}
        run = claim_run(root, run=1, plan=units, listing=seen, **about)
    return {"units": run.num_units, "plan_bytes": run.plan.size_bytes}


def resume(root: Folder, count: int) -> dict[str, float]:
    """A run of which nine units in ten are committed: which are left, and what Ray is told about them."""
    run = catalog.run_record(root, 1)
    units = remaining_units(run, catalog.committed_units(root, 1))
    groups = groups_of(units, int(units[len(units) // 2]))
    assert num_images(run, units) <= count
    return {"left": len(units), "handed_to_ray_bytes": groups.nbytes}


def nothing_to_do(root: Folder, count: int) -> dict[str, float]:
    """A sealed run, and a source in which nothing has changed."""
    with Comparison.of(root, refs(count)) as compared:
        assert compared.is_unchanged, compared.digest
    return {}


def one_in_a_hundred(root: Folder, count: int) -> dict[str, float]:
    """A sealed run, and a source with 1% more images."""
    with Comparison.of(root, refs(count + count // 100)) as compared:
        assert not compared.is_unchanged
        num_new = sum(batch.num_rows for batch in compared.to_embed())
        assert compared.removed().num_rows == 0
    assert num_new == count // 100, num_new
    return {}


def seal(root: Folder, count: int) -> dict[str, float]:
    """A run of which every unit is committed: read the commits, write index, shards, quarantine and manifest."""
    manifest = seal_run(root, catalog.run_record(root, 1))
    assert manifest.num_embedded == count, manifest
    return {"index_bytes": manifest.index.size_bytes}


def _commit_all(root: Folder, run: RunRecord) -> None:
    """Whole commits and shards of one byte, put there without the care that the real ones take."""
    vectors = np.random.default_rng(0).standard_normal((IMAGES_PER_UNIT, 256), dtype=np.float32)
    Path(root.uri, paths.commits(run.run)).mkdir()
    Path(root.uri, paths.shards(run.run)).mkdir(parents=True)
    with catalog.table_file(root, run.plan) as table:
        for batch in table.iter_batches(batch_size=1024):
            for unit in batch.to_pylist():
                name, ids = paths.shard(run.run, unit["unit"]), unit["image_id"]
                rows = index_rows(ids, unit["uri"], [(1080, 1920)] * len(ids), embeddings=vectors[: len(ids)])
                shard = TableFile(name=name, num_rows=len(ids), size_bytes=1, sha256="0" * 64)
                about = {"run": run.run, "unit": unit["unit"], "token": paths.token(), "fingerprint": run.fingerprint}
                record = CommitRecord(**about, shard=shard, rows=rows, quarantine=())
                Path(root.uri, name).write_bytes(b"x")
                Path(root.uri, paths.commit(run.run, unit["unit"])).write_bytes(record.to_bytes())


def _commit_nine_in_ten(root: Folder, run: RunRecord) -> None:
    folder = Path(root.uri, paths.commits(run.run))
    folder.mkdir()
    for unit in range(run.num_units):
        if unit % 10 == 9:
            continue
        path = Path(root.uri, paths.commit(run.run, unit))
        if unit % _MAX_LINKS == 0:
            one = path
            path.write_text("{}")
        else:
            os.link(one, path)


def _seal(root: Folder, run: RunRecord) -> None:
    empty = {"index": INDEX, "shards": SHARDS, "quarantine": QUARANTINE}
    tables = {kind: write_table(root, f"runs/{kind}.parquet", schema.empty_table()) for kind, schema in empty.items()}
    counts = {"num_planned": run.num_images, "num_embedded": run.num_images, "num_quarantined": 0, "size_bytes": 0}
    manifest = Manifest(run=1, fingerprint="f", sealed_at="2026-01-01", **counts, **tables)
    root.create(paths.manifest(1), manifest.to_bytes())


STEPS = {
    "plan": plan,
    "resume": resume,
    "nothing to do": nothing_to_do,
    "1% new": one_in_a_hundred,
    "seal": seal,
}
# Its commits are real files of 25 kB each: 16 GB of them at 10 million images.
_MOST_TO_SEAL = 1_000_000


def _begin_again(folder: str) -> None:
    shutil.rmtree(folder)
    Path(folder).mkdir()


def measure(step: str, folder: str, count: int) -> dict[str, float]:
    """One step, in a process of its own."""
    command = [sys.executable, __file__, "--step", step, "--folder", folder, "--images", str(count)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _run_step(step: str, folder: str, count: int) -> None:
    began = time.monotonic()
    found = STEPS[step](Folder(folder), count)
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({**found, "seconds": time.monotonic() - began, "peak_bytes": peak_bytes}))


def _all_steps(count: int, place: str | None) -> list[str]:
    folder = tempfile.mkdtemp(prefix="control-plane-", dir=place)
    try:
        rows = []
        for step in STEPS:
            if step == "resume":
                _commit_nine_in_ten(Folder(folder), catalog.run_record(Folder(folder), 1))
            if step == "nothing to do":
                _seal(Folder(folder), catalog.run_record(Folder(folder), 1))
            if step == "seal":
                if count > _MOST_TO_SEAL:
                    continue
                _begin_again(folder)
                plan(Folder(folder), count)
                _commit_all(Folder(folder), catalog.run_record(Folder(folder), 1))
            found = measure(step, folder, count)
            more = ", ".join(
                f"{key} {value:,.0f}" for key, value in found.items() if key not in ("seconds", "peak_bytes")
            )
            rows.append(f"| {count:,} | {step} | {found['seconds']:.1f} | {found['peak_bytes'] / 1e9:.2f} | {more} |")
            print(rows[-1], flush=True)
        return rows
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Prints the table, and keeps it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--folder")
    parser.add_argument("--step", choices=STEPS)
    options = parser.parse_args()
    if options.step:
        _run_step(options.step, options.folder, options.images[0])
        return
    head = ["| images | step | seconds | peak GB | |", "|---|---|---|---|---|"]
    print("\n".join(head))
    rows = [row for count in options.images for row in _all_steps(count, options.folder)]
    cores, today = len(os.sched_getaffinity(0)), datetime.now(UTC)
    name = f"control_plane_{cores}cores_{today:%Y%m}.md"
    about = f"{today:%Y-%m-%d}, {cores} cores ({platform.machine()}), local disk, `python {' '.join(sys.argv)}`"
    results = Path(__file__).parent / "results" / name
    results.write_text("\n".join([f"# Control plane\n\n{about}\n", *head, *rows, ""]))


if __name__ == "__main__":
    main()

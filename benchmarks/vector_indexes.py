"""Our index and those of usearch and lancedb over the same vectors: build, memory, recall, time of a query; duplicates.

A million vectors of 256 numbers, without clusters (isotropic Gaussian) and in 5,000 clusters; queries of the same kind
that are not among them, one at a time. Ours is the whole commands; peers build in processes of their own:
    python benchmarks/vector_indexes.py [--vectors 1000000] [--folder PLACE] [--peers .venv-peers/bin/python]
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from peers.vector_indexes import K, milliseconds, recall_at_k

from pipeline.exports.groups import twins
from pipeline.exports.vector_index import VectorIndex
from pipeline.featureset import paths
from pipeline.featureset.records import Manifest
from pipeline.featureset.schema import INDEX, QUARANTINE, SHARDS
from pipeline.sinks.feature_sets import claim_feature_set
from pipeline.sinks.runs import claim_run
from pipeline.sinks.tables import table_writer, write_table
from pipeline.storage.folder import Folder

ROOT = Path(__file__).resolve().parents[1]
DIMENSION = 256
NUM_QUERIES = 200
NUM_PLANTED = 1000
MIN_SIMILARITY = 0.98
SETTINGS = {"weights": {"kind": "random", "seed": 0}, "made_up": True}
HEAD = [
    "| vectors | index | build s | peak GB | on disk GB | recall@10 | effort | ms a query |",
    "|---|---|---|---|---|---|---|---|",
]


def vectors_of(kind: str, count: int, seed: int) -> np.ndarray:
    """L2-normalised (count, 256) float32 vectors."""
    chance = np.random.default_rng(seed)
    vectors = chance.standard_normal((count, DIMENSION), dtype=np.float32)
    if kind == "clustered":
        centres = np.random.default_rng(9).standard_normal((5000, DIMENSION), dtype=np.float32)
        vectors *= 0.5
        vectors += centres[chance.integers(0, len(centres), count)]
    faiss.normalize_L2(vectors)
    return vectors


def prepare(kind: str, count: int, folder: Path) -> None:
    """Vectors, of which the last thousand are near-duplicates of the first; queries, truth, and a feature set."""
    vectors, queries = vectors_of(kind, count, 1), vectors_of(kind, NUM_QUERIES, 2)
    vectors[-NUM_PLANTED:] = twins(vectors[:NUM_PLANTED], MIN_SIMILARITY + 0.001)
    np.save(folder / "vectors.npy", vectors)
    np.save(folder / "queries.npy", queries)
    np.save(folder / "truth.npy", faiss.knn(queries, vectors, K, metric=faiss.METRIC_INNER_PRODUCT)[1])
    write_features(Folder(folder / "features"), vectors)


def write_features(root: Folder, vectors: np.ndarray) -> None:
    """A sealed run whose index holds the vectors; it has no shards, which nothing here reads."""
    record = claim_feature_set(root, settings=SETTINGS, maps=(), positions={})
    about = {"fingerprint": record.fingerprint, "source": {"kind": "made up"}, "images_per_unit": 1}
    claim_run(root, run=1, plan=[], **about)
    tables = {
        kind: write_table(root, paths.run_table(1, kind), schema.empty_table())
        for kind, schema in (("shards", SHARDS), ("quarantine", QUARANTINE))
    }
    with table_writer(root, paths.run_table(1, "index"), INDEX) as writer:
        for first in range(0, len(vectors), 65_536):
            writer.append(_index_rows(vectors[first : first + 65_536], first))
    counts = {"num_planned": len(vectors), "num_embedded": len(vectors), "num_quarantined": 0, "size_bytes": 0}
    at = datetime.now(UTC).isoformat()
    manifest = Manifest(run=1, fingerprint=record.fingerprint, sealed_at=at, index=writer.file, **counts, **tables)
    root.create(paths.manifest(1), manifest.to_bytes())


def _index_rows(vectors: np.ndarray, first: int) -> pa.Table:
    ids = pa.array([f"train/{number:09d}.jpg" for number in range(first, first + len(vectors))])
    offsets = pa.array(np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1])
    ones = pa.array(np.full(len(vectors), 1024, np.int32))
    columns = {"image_id": ids, "uri": ids, "original_height": ones, "original_width": ones, "shard": ids, "row": ones}
    columns["embedding"] = pa.ListArray.from_arrays(offsets, pa.array(vectors.reshape(-1)))
    return pa.Table.from_arrays([columns[name] for name in INDEX.names], schema=INDEX)


def command(*arguments: str) -> tuple[str, float, float]:
    """What a command prints, its seconds, and its peak memory in GB."""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=out)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, arguments
        out.seek(0)
        return out.read(), time.perf_counter() - began, used.ru_maxrss / 1e6


def ours(folder: Path) -> dict[str, Any]:
    """The build command, and searches of what it built."""
    places = [f"features.uri={folder}/features", f"index.uri={folder}/ours"]
    _, build_s, peak_gb = command("jobs/build_index.py", *places)
    index = VectorIndex(str(folder / "ours"))

    def search(queries: np.ndarray, _: int) -> np.ndarray:
        return np.array([[row for _, row, _ in index.nearest(query, K)] for query in queries])

    queries, record = np.load(folder / "queries.npy"), index.record
    return {
        "build_s": build_s,
        "peak_gb": peak_gb,
        "size_bytes": sum(path.stat().st_size for path in (folder / "ours").iterdir()),
        "recall": recall_at_k(search(queries, 0), np.load(folder / "truth.npy")),
        "effort": f"{record.num_probes} of {record.num_lists} lists; measured itself: {record.recall:.3f}",
        "query_ms": milliseconds(search, queries, 0),
    }


def duplicates(kind: str, folder: Path) -> str:
    """The find_duplicates command, and how many of the planted pairs it found."""
    output = folder / "groups.parquet"
    places = [f"features.uri={folder}/features", f"output={output}", f"min_similarity={MIN_SIMILARITY}"]
    said, seconds, peak_gb = command("jobs/find_duplicates.py", *places)
    table = pq.read_table(output)
    num_found, num_pairs = _planted_found(table, folder), table["group"].to_numpy()
    groups = int(num_pairs.max()) + 1 if len(num_pairs) else 0
    (effort,) = re.findall(r"(\d+ of \d+ lists)", said)
    return f"| {kind} | {seconds:.0f} | {peak_gb:.1f} | {effort} | {num_found} of {NUM_PLANTED} | {groups} |"


def _planted_found(table: pa.Table, folder: Path) -> int:
    groups = dict(zip(table["image_id"].to_pylist(), table["group"].to_pylist(), strict=True))
    count = len(np.load(folder / "vectors.npy", mmap_mode="r"))
    pairs = ((number, count - NUM_PLANTED + number) for number in range(NUM_PLANTED))
    named = ((groups.get(f"train/{one:09d}.jpg"), groups.get(f"train/{other:09d}.jpg")) for one, other in pairs)
    return sum(one is not None and one == other for one, other in named)


def peer(library: str, folder: Path, python: str) -> dict[str, Any]:
    """A peer's index of the same vectors."""
    shutil.rmtree(folder / "index", ignore_errors=True)
    program, quiet = str(ROOT / "benchmarks/peers/vector_indexes.py"), {**os.environ, "LANCE_LOG": "error"}
    done = subprocess.run([python, program, library, str(folder)], check=True, stdout=subprocess.PIPE, env=quiet)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def row(kind: str, name: str, facts: dict[str, Any]) -> str:
    """A line of the table."""
    numbers = f"{facts['build_s']:.0f} | {facts['peak_gb']:.1f} | {facts['size_bytes'] / 1e9:.2f}"
    return f"| {kind} | {name} | {numbers} | {facts['recall']:.3f} | {facts['effort']} | {facts['query_ms']:.1f} |"


def main() -> None:
    """Prints the tables, and keeps them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--folder")
    parser.add_argument("--peers", default=str(ROOT / ".venv-peers/bin/python"))
    options = parser.parse_args()
    rows, found = [], []
    with tempfile.TemporaryDirectory(prefix="vector-indexes-", dir=options.folder) as name:
        folders = {kind: Path(name, kind) for kind in ("gaussian", "clustered")}
        for kind, folder in folders.items():
            folder.mkdir()
            prepare(kind, options.vectors, folder)
            rows.append(row(kind, "ours (faiss)", ours(folder)))
            found.append(duplicates(kind, folder))
            print(rows[-1], found[-1], sep="\n", flush=True)
        for kind, folder in folders.items():
            for library in ("usearch", "lancedb"):
                rows.append(row(kind, library, peer(library, folder, options.peers)))
                print(rows[-1], flush=True)
    _keep(options.vectors, rows, found)


def _keep(count: int, rows: list[str], found: list[str]) -> None:
    cores, today = len(os.sched_getaffinity(0)), datetime.now(UTC)
    about = f"{today:%Y-%m-%d}, {cores} cores ({platform.machine()}), local disk, `python benchmarks/vector_indexes.py`"
    lines = [
        "# Vector indexes",
        f"\n{about}; {count:,} vectors of {DIMENSION} numbers; load average at the end {os.getloadavg()[2]:.1f}\n",
        *HEAD,
        *rows,
        f"\nNear-duplicates from a similarity of {MIN_SIMILARITY}, the whole command:\n",
        "| vectors | seconds | peak GB | effort | planted pairs found | groups |",
        "|---|---|---|---|---|---|",
        *found,
        "",
    ]
    name = f"vector_indexes_{cores}cores_{today:%Y%m}.md"
    (ROOT / "benchmarks/results" / name).write_text("\n".join(lines))


if __name__ == "__main__":
    main()

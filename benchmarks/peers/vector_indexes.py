"""One vector index of a library we compare with, as JSON: seconds, memory and bytes of the build, recall and time.

Started by benchmarks/vector_indexes.py, in a process of its own so that its memory is its own:
    python benchmarks/peers/vector_indexes.py usearch FOLDER
FOLDER holds vectors.npy (N, D), queries.npy (Q, D) and truth.npy (Q, 10), made by that program.
"""

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

K = 10
TARGET = 0.95
# Of each query one by one, as a user searches; more would make the slow ones take minutes.
_NUM_TIMED = 50
_ROWS_AT_ONCE = 65_536

Search = Callable[[np.ndarray, int], np.ndarray]


def usearch(folder: Path) -> tuple[Search, list[int]]:
    """HNSW over float16, opened as a view of its file; effort is the length of the search's queue."""
    from usearch.index import Index

    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    index = Index(ndim=vectors.shape[1], metric="ip", dtype="f16")
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        part = np.array(vectors[start : start + _ROWS_AT_ONCE])
        index.add(np.arange(start, start + len(part)), part, threads=2)
    index.save(str(folder / "index" / "usearch"))
    del index
    view = Index.restore(str(folder / "index" / "usearch"), view=True)

    def search(queries: np.ndarray, effort: int) -> np.ndarray:
        view.expansion_search = effort
        return np.asarray(view.search(queries, K, threads=2).keys).reshape(len(queries), K).astype(np.int64)

    return search, [64, 128, 256, 512, 1024, 2048, 4096]


def lancedb(folder: Path) -> tuple[Search, list[int]]:
    """IVF with product quantisation, fifty times as many candidates rescored; effort is the number of lists."""
    import lancedb as lance
    import pyarrow as pa
    from lancedb.index import IvfPq

    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    width = vectors.shape[1]
    schema = pa.schema([("number", pa.int64()), ("vector", pa.list_(pa.float32(), width))])

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(vectors), _ROWS_AT_ONCE):
            part = np.array(vectors[start : start + _ROWS_AT_ONCE])
            values = pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), width)
            yield pa.RecordBatch.from_arrays([pa.array(np.arange(start, start + len(part))), values], schema=schema)

    reader = pa.RecordBatchReader.from_batches(schema, batches())
    table = lance.connect(str(folder / "index")).create_table("vectors", reader)
    num_lists = 1024
    table.create_index(
        "vector", config=IvfPq(distance_type="dot", num_partitions=num_lists, num_sub_vectors=width // 4)
    )

    def one(query: np.ndarray, effort: int) -> list[int]:
        found = table.search(query).distance_type("dot").nprobes(effort).refine_factor(50).limit(K)
        numbers: list[int] = found.select(["number", "_distance"]).to_arrow()["number"].to_pylist()
        return numbers

    return lambda queries, effort: np.array([one(query, effort) for query in queries]), _doubling(num_lists)


def measure(build: Callable[[Path], tuple[Search, list[int]]], folder: Path) -> dict[str, Any]:
    """What building took, and what the least effort that reaches the target gives; the most effort if none does."""
    (folder / "index").mkdir()
    began = time.perf_counter()
    search, efforts = build(folder)
    facts: dict[str, Any] = {
        "build_s": time.perf_counter() - began,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "size_bytes": sum(path.stat().st_size for path in (folder / "index").rglob("*") if path.is_file()),
    }
    queries, truth = np.load(folder / "queries.npy"), np.load(folder / "truth.npy")
    for effort in efforts:
        recall = recall_at_k(search(queries, effort), truth)
        if recall >= TARGET or effort == efforts[-1]:
            break
    return {**facts, "recall": recall, "effort": effort, "query_ms": milliseconds(search, queries, effort)}


def recall_at_k(found: np.ndarray, truth: np.ndarray) -> float:
    """The share of true neighbours that were found."""
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found.tolist(), truth.tolist(), strict=True)]))


def milliseconds(search: Search, queries: np.ndarray, effort: int) -> float:
    """The median of queries one by one."""
    seconds = []
    for number in range(min(_NUM_TIMED, len(queries))):
        began = time.perf_counter()
        search(queries[number : number + 1], effort)
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds) * 1e3)


def _doubling(most: int) -> list[int]:
    efforts = [8]
    while efforts[-1] < most:
        efforts.append(min(efforts[-1] * 2, most))
    return efforts


if __name__ == "__main__":
    json.dump(measure({"usearch": usearch, "lancedb": lancedb}[sys.argv[1]], Path(sys.argv[2])), sys.stdout)

"""Shards alone, as JSON: GB/s of fp16 maps to a folder in memory and back, as blobs and as tensor columns.

python benchmarks/writing.py
"""

import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pipeline.featureset.maps import Layout, MapSpec
from pipeline.featureset.records import FeatureSetRecord
from pipeline.sinks.shards import EmbeddedImages, shard_writer
from pipeline.storage.folder import Folder

NUM_IMAGES, REPEATS = 8, 7


def main() -> None:
    """Prints it."""
    json.dump(
        {**measure("blob"), **{f"tensor, {name}": value for name, value in measure("tensor").items()}}, sys.stdout
    )


def measure(layout: Layout) -> dict[str, float]:
    """The medians of one layout."""
    maps = tuple(
        MapSpec(f"fpn_{level}", level, (256, 256 >> level, 256 >> level), "float16", 4 << level, layout)
        for level in range(3)
    )
    rng = np.random.default_rng(0)
    values = {
        spec.column: rng.standard_normal((1, *spec.shape_chw[1:], spec.shape_chw[0]), np.float32).astype(np.float16)
        for spec in maps
    }
    image = EmbeddedImages(["image"], ["uri"], [(1, 1)], values, np.ones((1, 256), np.float32))
    record = FeatureSetRecord(
        fingerprint="benchmark", settings={"weights": {"kind": "random"}}, maps=maps, position_encodings=None
    )
    num_bytes = NUM_IMAGES * sum(each.nbytes for each in values.values())
    clock, cpu, read, share = [], [], [], 0.0
    for _ in range(REPEATS):
        folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
        began, spent = time.perf_counter(), time.process_time()
        with shard_writer(Folder(folder), record, run=1, unit=0) as shard:
            for _ in range(NUM_IMAGES):
                shard.append(image)
        clock.append(num_bytes / (time.perf_counter() - began) / 1e9)
        cpu.append(num_bytes / (time.process_time() - spent) / 1e9)
        (path,) = folder.rglob("*.parquet")
        share = path.stat().st_size / num_bytes
        began = time.perf_counter()
        file = pq.ParquetFile(path, page_checksum_verification=True)
        for row in range(NUM_IMAGES):
            group = file.read_row_group(row)
            for spec in maps:
                spec.read(group)
        read.append(num_bytes / (time.perf_counter() - began) / 1e9)
        shutil.rmtree(folder)
    return {
        "GB/s": statistics.median(clock),
        "GB/s of CPU time": statistics.median(cpu),
        "GB/s read, checked": statistics.median(read),
        "bytes on disk": share,
    }


if __name__ == "__main__":
    main()

"""The shard writer alone, as JSON: GB/s of fp16 maps to a folder in memory, by the clock and by CPU time.

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

from pipeline.featureset.maps import MapSpec
from pipeline.featureset.records import FeatureSetRecord
from pipeline.sinks.shards import EmbeddedImages, shard_writer
from pipeline.storage.folder import Folder

NUM_IMAGES, REPEATS = 8, 7
MAPS = tuple(
    MapSpec(f"fpn_{level}", level, (256, 256 >> level, 256 >> level), "float16", 4 << level) for level in range(3)
)


def main() -> None:
    """Prints it."""
    rng = np.random.default_rng(0)
    maps = {
        spec.column: rng.standard_normal((1, *spec.shape_chw[1:], spec.shape_chw[0]), np.float32).astype(np.float16)
        for spec in MAPS
    }
    image = EmbeddedImages(["image"], ["uri"], [(1, 1)], maps, np.ones((1, 256), np.float32))
    record = FeatureSetRecord(
        fingerprint="benchmark", settings={"weights": {"kind": "random"}}, maps=MAPS, position_encodings=None
    )
    num_bytes = NUM_IMAGES * sum(values.nbytes for values in maps.values())
    clock, cpu, share = [], [], 0.0
    for _ in range(REPEATS):
        folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
        began, spent = time.perf_counter(), time.process_time()
        with shard_writer(Folder(folder), record, run=1, unit=0) as shard:
            for _ in range(NUM_IMAGES):
                shard.append(image)
        clock.append(num_bytes / (time.perf_counter() - began) / 1e9)
        cpu.append(num_bytes / (time.process_time() - spent) / 1e9)
        share = sum(path.stat().st_size for path in folder.rglob("*.parquet")) / num_bytes
        shutil.rmtree(folder)
    facts = {"GB/s": statistics.median(clock), "GB/s of CPU time": statistics.median(cpu), "bytes on disk": share}
    json.dump(facts, sys.stdout)


if __name__ == "__main__":
    main()

"""Reading a feature set: one row by its id, all rows in order, and requests to a store.

A set of 8 MB rows (three float16 maps) is written by the real sinks below a folder of the disk to be measured. Raw
reading is the same files, one after the other, into one buffer of a megabyte. Cold means that the kernel was asked to
drop their pages before. Requests are counted by the tests' proxy in front of moto:
    PYTHONPATH=. python benchmarks/reading.py [--images 256] [--folder /tmp]
"""

import argparse
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.featureset import paths
from pipeline.featureset.maps import MapSpec
from pipeline.featureset.records import CommitRecord
from pipeline.featureset.schema import PLAN
from pipeline.readers.feature_set import FeatureSet, open_features
from pipeline.sinks.commits import commit_unit
from pipeline.sinks.feature_sets import claim_feature_set
from pipeline.sinks.runs import claim_run
from pipeline.sinks.seal import seal_run
from pipeline.sinks.shards import EmbeddedImages, shard_writer
from pipeline.storage.folder import Folder
from tests.faults.proxy import FaultProxy
from tests.faults.store import S3Server

SHAPES = ((32, 256, 256), (64, 128, 128), (256, 64, 64))
MAPS = tuple(MapSpec(f"fpn_{level}", level, shape, "float16", 4 << level) for level, shape in enumerate(SHAPES))
ROW_BYTES = sum(spec.size_bytes for spec in MAPS)
IMAGES_PER_UNIT, REPEATS, NUM_RANDOM = 8, 9, 200
SETTINGS = {"weights": {"kind": "random", "seed": 0}, "precision": "fp32"}


def write_set(root: Folder, num_images: int) -> None:
    """A sealed set of random numbers."""
    rng = np.random.default_rng(0)
    ids = [f"{number:06d}.jpg" for number in range(num_images)]
    units = [ids[first : first + IMAGES_PER_UNIT] for first in range(0, num_images, IMAGES_PER_UNIT)]
    positions = {spec.column: np.zeros((*spec.shape_chw[1:], spec.shape_chw[0]), np.float32) for spec in MAPS}
    record = claim_feature_set(root, settings=SETTINGS, maps=MAPS, positions=positions)
    plan = {
        "unit": range(len(units)),
        "image_id": units,
        "uri": units,
        "size_bytes": [[1] * len(unit) for unit in units],
        "version": units,
    }
    run = claim_run(
        root,
        run=1,
        fingerprint=record.fingerprint,
        source={},
        plan=[pa.table(plan, schema=PLAN)],
        images_per_unit=IMAGES_PER_UNIT,
    )
    for unit, unit_ids in enumerate(units):
        with shard_writer(root, record, run=1, unit=unit) as shard:
            for image_id in unit_ids:
                maps = {spec.column: _random_map(rng, spec) for spec in MAPS}
                shard.append(EmbeddedImages([image_id], [image_id], [(1, 1)], maps, np.ones((1, 256), np.float32)))
        about = {"run": 1, "unit": unit, "token": paths.token(), "fingerprint": record.fingerprint}
        commit_unit(root, CommitRecord(**about, shard=shard.file, rows=shard.rows, quarantine=()))
    seal_run(root, run)


def random_ms(features: FeatureSet, *, is_cold: bool) -> float:
    """Median milliseconds of one row by its id, all its bytes looked at, shards in random order."""
    rng, seconds = np.random.default_rng(1), []
    assert features[features.image_ids[0]].maps, "indexes are here now"
    for image_id in rng.choice(features.image_ids, NUM_RANDOM):
        if is_cold:
            drop(features.files)
        began = time.perf_counter()
        assert len(features[str(image_id)].maps) == len(MAPS)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) * 1e3


def rates(ways: dict[str, Callable[[FeatureSet], None]], features: FeatureSet, *, is_cold: bool) -> dict[str, float]:
    """Median GB/s of each way through all shards, taken in turn so that what else goes on here hits all alike."""
    num_bytes = sum(Path(file).stat().st_size for file in features.files)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, work in ways.items():
            if is_cold:
                drop(features.files)
            began = time.perf_counter()
            work(features)
            found[name].append(num_bytes / (time.perf_counter() - began) / 1e9)
    return {name: statistics.median(each) for name, each in found.items()}


def read_raw(features: FeatureSet) -> None:
    """Every byte of every shard, in order, and nothing done with it."""
    buffer = bytearray(1 << 20)
    for file in features.files:
        with Path(file).open("rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass


def read_whole(features: FeatureSet) -> None:
    """The same, but a row's bytes at a time into memory that is kept until the next, as somebody who uses them must."""
    for file in features.files:
        with Path(file).open("rb", buffering=0) as stream:
            while stream.read(ROW_BYTES):
                pass


def read_rows(features: FeatureSet) -> None:
    """Every row that counts."""
    assert sum(1 for _ in features.rows()) == len(features)


def drop(files: list[str]) -> None:
    """Asks the kernel to drop what it holds of these files."""
    for file in files:
        handle = os.open(file, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def requests() -> dict[str, int]:
    """How many requests the first row of a shard in a bucket costs, the second, and one of a selection."""
    with S3Server() as server, FaultProxy(server.endpoint) as proxy, _environment(proxy.environment()):
        server.client.create_bucket(Bucket="reading")
        root = Folder("s3://reading/set")
        write_set(root, IMAGES_PER_UNIT)
        features = open_features(root.uri)
        asked = {
            "first row of a shard": lambda: features["000003.jpg"],
            "second row": lambda: features["000005.jpg"],
            "one map of a row, `select`": lambda: features.select("fpn_2")["000001.jpg"],
            "all eight rows, `rows()`": lambda: list(features.rows()),
        }
        assert len(features) == IMAGES_PER_UNIT
        counts = {}
        for what, ask in asked.items():
            proxy.forget()
            ask()
            counts[what] = len(proxy.requests)
        return counts


def main() -> None:
    """Prints the tables, and keeps them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--folder", default=None)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    folder = Path(tempfile.mkdtemp(prefix="reading-", dir=options.folder))
    try:
        write_set(Folder(folder), options.images)
        os.sync()  # pages that are not on the disk yet cannot be dropped
        features = open_features(folder)
        lines = [*_random_lines(features), "", *_rate_lines(features)]
    finally:
        shutil.rmtree(folder)
    lines += ["", "| requests to S3 | |", "|---|---|", *(f"| {what} | {count} |" for what, count in requests().items())]
    cores, today = len(os.sched_getaffinity(0)), datetime.now(UTC)
    about = (
        f"{today:%Y-%m-%d}, {cores} cores ({platform.machine()}), pyarrow {pa.__version__}, {options.images} rows of "
        f"{ROW_BYTES / 1e6:.1f} MB in shards of {IMAGES_PER_UNIT}, "
        f"page checksums verified; medians; load average {load:.1f} before"
    )
    text = "\n".join(["# Reading a feature set", "", about, "", *lines, ""])
    print(text)
    (Path(__file__).parent / "results" / f"reading_{cores}cores_{today:%Y%m}.md").write_text(text)


def _random_lines(features: FeatureSet) -> Iterator[str]:
    yield from ("| one row by its id | ms |", "|---|---|")
    for name, is_cold in (("warm", False), ("cold", True)):
        yield f"| {name} page cache | {random_ms(features, is_cold=is_cold):.2f} |"


def _rate_lines(features: FeatureSet) -> Iterator[str]:
    ways = {
        "raw, into one buffer of 1 MiB": read_raw,
        "raw, a row's bytes at a time": read_whole,
        "`features.rows()`": read_rows,
    }
    warm, cold = (rates(ways, features, is_cold=is_cold) for is_cold in (False, True))
    yield from ("| all of it, GB/s | warm | cold |", "|---|---|---|")
    yield from (f"| {name} | {warm[name]:.2f} | {cold[name]:.2f} |" for name in ways)
    *raw, rows = ways
    shares = (each[rows] / max(each[name] for name in raw) for each in (warm, cold))
    yield "| `rows()` / the faster raw | " + " | ".join(f"{share:.0%}" for share in shares) + " |"


def _random_map(rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    channels, height, width = spec.shape_chw
    return rng.standard_normal((1, height, width, channels), np.float32).astype(np.float16)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """This process's environment with other values, for the length of the block."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


if __name__ == "__main__":
    main()

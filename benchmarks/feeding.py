"""What the way to the encoder costs, as JSON: images a second from listing to hand-over, with no encoder behind it.

Beside it a plain loop of as many processes as there are cores, which makes the same library calls and keeps nothing:
read, decode, resize, normalise:
    python benchmarks/feeding.py PHOTOS
"""

import json
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import ray
import torch

from pipeline.execution.blocks import DecodedUnit, Receipt
from pipeline.execution.cluster import open_cluster
from pipeline.execution.fetch import FetchAndDecode
from pipeline.execution.graph import embed_units
from pipeline.execution.plan import cut_units
from pipeline.execution.resources import Placement
from pipeline.execution.units import ReadUnits, groups_of, remaining_units
from pipeline.featureset.catalog import committed_units
from pipeline.preprocessing.decode import decode
from pipeline.preprocessing.transform import normalise
from pipeline.sinks.feature_sets import claim_feature_set
from pipeline.sinks.runs import claim_run
from pipeline.sources.opening import open_source
from pipeline.storage.folder import Folder

SIDE_PX, IMAGES_PER_UNIT = 1024, 8


class NoEncoder:
    """Takes a unit's pixels and gives a receipt."""

    def __call__(self, block: pa.Table) -> pa.Table:
        """Looks at the pixels, as an encoder would have to."""
        decoded = DecodedUnit.from_block(block)
        assert decoded.pixels_NCHW.shape[1:] == (3, SIDE_PX, SIDE_PX), decoded.pixels_NCHW.shape
        return Receipt(decoded.unit, is_committed=True, num_embedded=len(decoded.images)).to_block()


def main(photos: str) -> None:
    """Prints it."""
    cores = len(os.sched_getaffinity(0))
    files = sorted(Path(photos).iterdir())
    facts = {"through the graph, images/s": graph_rate(photos), "plain loop, images/s": loop_rate(files, cores)}
    facts["share"] = facts["through the graph, images/s"] / facts["plain loop, images/s"]
    json.dump(facts, sys.stdout)


def graph_rate(photos: str) -> float:
    """Images a second between the first and the last receipt, the images of the first left out."""
    with tempfile.TemporaryDirectory() as folder, open_cluster(None, logs=False) as cluster:
        root = Folder(folder)
        source = open_source("directory", uri=photos, suffixes=(".jpg",), patience_s=60)
        record = claim_feature_set(root, settings={}, maps=(), positions={})
        plan = cut_units(source.refs(), IMAGES_PER_UNIT)
        run = claim_run(
            root, run=1, fingerprint=record.fingerprint, source={}, plan=plan, images_per_unit=IMAGES_PER_UNIT
        )
        cluster.connect()
        receipts = embed_units(
            groups_of(remaining_units(run, committed_units(root, 1))),
            read=ReadUnits(uri=root.uri, plan=run.plan, patience_s=60),
            fetch=FetchAndDecode(side_px=SIDE_PX, sink_uri=root.uri, run=1),
            encode={},
            placement=Placement("cpu", 1, num_cpus=1, num_gpus=0, num_threads=1),
            encoder=NoEncoder,
        )
        next(receipts)
        began = time.perf_counter()
        num_images = sum(receipt.num_embedded for receipt in receipts)
        return num_images / (time.perf_counter() - began)


def loop_rate(files: list[Path], cores: int) -> float:
    """Images a second of the plain loop, from when its processes are warm."""
    with multiprocessing.get_context("spawn").Pool(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        pool.map(_prepare, files[: 4 * cores], chunksize=4)
        began = time.perf_counter()
        pool.map(_prepare, files, chunksize=IMAGES_PER_UNIT)
        return len(files) / (time.perf_counter() - began)


def _prepare(path: Path) -> None:
    normalise(decode(path.read_bytes()), SIDE_PX)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    finally:
        ray.shutdown()

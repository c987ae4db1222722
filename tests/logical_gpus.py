"""Embeds a folder as jobs/embed.py does with execution.device=cuda, on nodes whose GPUs Ray was only told of.

Waiting, placement, growth and the graph are the job's own; the encoder alone runs on a CPU, and sets the pace:
it rests between units until there is a file SINK.hurry.
    python -m tests.logical_gpus PHOTOS SINK
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from pipeline.config import job_config
from pipeline.execution.audit import AuditPlan
from pipeline.execution.cluster import node_here, open_cluster
from pipeline.execution.encode import Command, EncodeAndWrite, EncoderSettings, SinkSettings
from pipeline.execution.fetch import FetchAndDecode
from pipeline.execution.graph import embed_units
from pipeline.execution.resources import first_need, place_encoders
from pipeline.execution.task import Task
from pipeline.execution.units import ReadUnits, groups_of, remaining_units
from pipeline.featureset import catalog
from pipeline.observability.progress import announce
from pipeline.sinks.seal import seal_run

_REST_S = 1.0


class Busy(EncodeAndWrite):
    """An encoder that has its hands full, on however few cores."""

    def __call__(self, block: pa.Table) -> pa.Table:
        """As the other, but later."""
        if not Path(f"{self._sink.uri}.hurry").exists():
            time.sleep(_REST_S)
        return super().__call__(block)


def main(photos: str, sink: str) -> None:
    """Embeds, a unit an image, and seals."""
    values = {"source": {"kind": "directory", "uri": photos}, "sink": {"uri": sink}, "features": {"kind": "embed"}}
    model = {"name": "hiera_debug", "checkpoint": "random"}
    config = job_config({**values, "model": model, "preprocess": {}, "execution": {"precision": "fp32"}})
    task = Task.of(config)
    with open_cluster(None, logs=False) as cluster:
        nodes = cluster.nodes(first_need("cuda"), 120)
        placement = place_encoders(nodes, device="cuda", num_encoders=None, can_grow=cluster.can_grow)
        cluster.watch_nodes(placement.need)
        run = task.open_run(task.settings(config, "cpu"), 1)
        record = catalog.feature_set_record(task.root)
        assert run is not None
        assert record is not None
        placement = replace(placement, device="cpu")
        encoder = EncoderSettings(
            tree=task.encoder.tree,
            weights=task.weights,
            device="cpu",
            precision="fp32",
            num_threads=1,
            images_per_batch=1,
            side_px=task.side_px,
        )
        command = Command("logical", time.time())
        receipts = embed_units(
            groups_of(remaining_units(run, catalog.committed_units(task.root, 1))),
            read=ReadUnits(uri=task.root.uri, plan=run.plan, patience_s=60),
            fetch=FetchAndDecode(side_px=task.side_px, sink_uri=task.root.uri, run=1, where=node_here),
            encode={
                "encoder": encoder,
                "sink": SinkSettings(task.root.uri, 1, record, command=command),
                "audits": AuditPlan(0, run.num_units),
                "where": node_here,
            },
            placement=placement,
            encoder=Busy,
        )
        announce(f"encoders: {placement.num_encoders}")
        announce(f"{sum(receipt.num_embedded for receipt in receipts)} images")
    seal_run(task.root, run, max_failed_share=None, accept_audit=False)


if __name__ == "__main__":
    main(*sys.argv[1:])

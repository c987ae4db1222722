"""The way of the data, in order: plan, units, fetch and decode, encode and write, receipts."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import ray.data
from ray.data import ActorPoolStrategy, DataContext

from pipeline.execution.blocks import Receipt
from pipeline.execution.encode import EncodeAndWrite
from pipeline.execution.fetch import FetchAndDecode
from pipeline.execution.resources import Placement
from pipeline.execution.units import ReadUnits

# An encoder that dies is replaced for ever (a pool of fixed size never refills otherwise). A unit is tried this often
# before the run ends and the next one tries it again: until a dead node is known to be dead, tries fail at once.
_RESTARTS: dict[str, Any] = {"max_restarts": -1, "max_task_retries": 20}
# Encoders hold two units each, one to encode and one to write, and have a third at hand.
_CALLS, _AT_HAND = 2, 3


def embed_units(
    groups: pa.Table,
    *,
    read: ReadUnits,
    fetch: FetchAndDecode,
    encode: Mapping[str, Any],
    placement: Placement,
    encoder: type = EncodeAndWrite,
) -> Iterator[Receipt]:
    """Runs the graph over the units of a plan and yields their receipts as they are committed.

    Args:
        groups: row groups of the plan and the units in them, from `groups_of`.
        read: reads the plan.
        fetch: the first step.
        encode: what `encoder` is built from, in every actor.
        placement: how many actors, on what.
        encoder: the second step; benchmarks put one in its place that costs nothing.
    """
    # Ray Data's own threshold is above what an encoder takes; a data set keeps what is said before it is made.
    DataContext.get_current().autoscaling_config.actor_pool_util_upscaling_threshold = _AT_HAND / _CALLS
    receipts = (
        ray.data.from_arrow(groups)
        .repartition(target_num_rows_per_block=1)
        .map_batches(read, batch_size=1, batch_format="pyarrow", num_cpus=1)
        .repartition(target_num_rows_per_block=1)
        .map_batches(fetch, batch_size=1, batch_format="pyarrow", num_cpus=1, **_off_gpus(placement))
        .map_batches(
            encoder,
            fn_constructor_kwargs=dict(encode),
            batch_size=1,
            batch_format="pyarrow",
            compute=_encoders(placement),
            num_cpus=placement.num_cpus,
            **({"num_gpus": placement.num_gpus} if placement.num_gpus else {}),
            **_RESTARTS,
        )
    )
    for batch in receipts.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for row in batch["receipt"].to_pylist():
            yield Receipt.from_row(row)


def _off_gpus(placement: Placement) -> dict[str, Any]:
    """Ray's own choice of a node keeps tasks off those with GPUs while others have a CPU free; Ray Data's spreads."""
    return {"scheduling_strategy": "DEFAULT"} if placement.num_gpus else {}


def _encoders(placement: Placement) -> ActorPoolStrategy:
    """As many actors as begin; where the placement may grow, more while all have their hands full and a GPU is free."""
    return ActorPoolStrategy(
        min_size=placement.num_encoders,
        max_size=None if placement.may_grow else placement.num_encoders,
        max_concurrent_calls_per_actor=_CALLS,
        enable_true_multi_threading=True,
        max_tasks_in_flight_per_actor=_AT_HAND,
    )

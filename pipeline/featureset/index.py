"""The index rows of a unit between its commit, which is JSON, and the index of a sealed run, which is Arrow."""

import base64
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.featureset.records import CommitRecord, IndexRows
from pipeline.featureset.schema import INDEX, SHARDS


def index_rows(
    image_ids: Sequence[str], uris: Sequence[str], sizes: Sequence[tuple[int, int]], *, embeddings: np.ndarray
) -> IndexRows:
    """The rows of a shard.

    Args:
        image_ids: in the order of the shard's rows.
        uris: of the images.
        sizes: (height, width) of the originals, in pixels.
        embeddings: pooled vectors (N, D) float32.
    """
    vectors = np.ascontiguousarray(embeddings, dtype="<f4")
    return IndexRows(
        image_id=tuple(image_ids),
        uri=tuple(uris),
        original_height=tuple(height for height, _ in sizes),
        original_width=tuple(width for _, width in sizes),
        embedding=base64.b64encode(vectors.tobytes()).decode(),
    )


def index_table(commit: CommitRecord, planned: pa.Table | None = None) -> pa.Table:
    """The commit's rows as the index has them.

    Args:
        commit: of a unit.
        planned: one row an image of the unit: image_id, and what else the plan carries for the index.
    """
    rows = _own_columns(commit)
    if planned is None or planned.num_columns == 1:
        return rows
    carried = planned.take(pc.index_in(rows["image_id"], planned["image_id"])).drop_columns("image_id")
    for field in carried.schema:
        rows = rows.append_column(field, carried[field.name])
    return rows


def _own_columns(commit: CommitRecord) -> pa.Table:
    if commit.shard is None:
        return INDEX.empty_table()
    rows, num_rows = commit.rows, len(commit.rows.image_id)
    values = np.frombuffer(base64.b64decode(rows.embedding), "<f4")
    offsets = pa.array(np.linspace(0, len(values), num_rows + 1, dtype=np.int32))
    columns = {
        "image_id": pa.array(rows.image_id, pa.string()),
        "uri": pa.array(rows.uri, pa.string()),
        "original_height": pa.array(rows.original_height, pa.int32()),
        "original_width": pa.array(rows.original_width, pa.int32()),
        "shard": pa.array([commit.shard.name] * num_rows, pa.string()),
        "row": pa.array(range(num_rows), pa.int32()),
        "embedding": pa.ListArray.from_arrays(offsets, pa.array(values)),
    }
    return pa.Table.from_arrays([columns[name] for name in INDEX.names], schema=INDEX)


def shards_table(commits: Iterable[CommitRecord]) -> pa.Table:
    """The shards that commits name, and how the work on them went."""
    rows = [
        {**commit.shard.model_dump(exclude={"name"}), "shard": commit.shard.name, **_work(commit)}
        for commit in commits
        if commit.shard is not None
    ]
    return pa.Table.from_pylist(rows, schema=SHARDS)


def _work(commit: CommitRecord) -> dict[str, Any]:
    if commit.work is None:
        return {}
    maps = {"account": list(commit.work.account.items()), "seconds": list(commit.work.seconds.items())}
    return {**commit.work.model_dump(), **maps}

"""Which of several runs counts for an image: the last one, whether it holds features or a quarantine row."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def last_rows(image_ids: Sequence[pa.ChunkedArray]) -> list[pa.Array]:
    """Per table of ids, the rows whose id does not come again in a later row of a later table; ascending.

    Args:
        image_ids: the id columns of all tables, oldest first.
    """
    lengths = [len(ids) for ids in image_ids]
    every = pa.chunked_array([chunk for ids in image_ids for chunk in ids.chunks], pa.string())
    order = pa.table({"image_id": every, "place": np.arange(len(every))})
    last = order.group_by("image_id").aggregate([("place", "max")])["place_max"].to_numpy()
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    kept = np.split(np.sort(last), np.searchsorted(np.sort(last), bounds[1:-1]))
    return [pa.array(rows - start) for rows, start in zip(kept, bounds[:-1], strict=True)]


def take_rows(tables: Sequence[pa.Table], rows: Sequence[pa.Array]) -> pa.Table:
    """Those rows of each table, in one; of a column that some tables lack, null."""
    taken = [table.take(kept) for table, kept in zip(tables, rows, strict=True)]
    return pa.concat_tables(taken, promote_options="default")  # runs of another source may have other columns

"""Near-duplicate images of a feature set, as a Parquet table, a few lines of text and a sheet."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ConfigError
from pipeline.exports.building import fill
from pipeline.exports.groups import group_numbers, probes_for
from pipeline.exports.index_record import random_weights
from pipeline.exports.lists import Lists
from pipeline.exports.local_output import local_path, replacing
from pipeline.exports.sheet import NUM_COLUMNS, Tile, write_sheet
from pipeline.exports.vectors import PooledVectors
from pipeline.exports.visible import VisibleRows
from pipeline.featureset.schema import PART
from pipeline.redaction import shown

_ROWS_AT_ONCE = 4096
_MAX_SHOWN = 5
_MAX_GROUPS_SHOWN = 10

GROUPS = [
    pa.field("group", pa.int32(), nullable=False, metadata={"meaning": "from 0, the largest first"}),
    pa.field("image_id", pa.string(), nullable=False),
    pa.field("uri", pa.string(), nullable=False),
    pa.field("similarity", pa.float32(), nullable=False, metadata={"meaning": "cosine, to the group's first image"}),
    PART,
]


@dataclass(frozen=True)
class Duplicates:
    """What was written: the table (columns as `GROUPS`) in the order of groups, and how it was found."""

    table: pa.Table
    num_images: int
    min_similarity: float
    effort: str
    warning: str | None

    @property
    def num_groups(self) -> int:
        """How many groups."""
        return int(self.table["group"][-1].as_py()) + 1 if self.table.num_rows else 0

    def text(self) -> str:
        """How many groups there are, and the largest of them."""
        lines = [self.warning] if self.warning else []
        lines.append(
            f"{self.num_groups} groups of near-duplicates hold {self.table.num_rows} of {self.num_images} images "
            f"(similarity from {self.min_similarity:g}; {self.effort})"
        )
        for rows in self._largest():
            ids = rows["image_id"].slice(0, _MAX_SHOWN).to_pylist()
            more = f" and {rows.num_rows - len(ids)} more" if rows.num_rows > len(ids) else ""
            lines.append(
                f"group {rows['group'][0].as_py()}: {rows.num_rows} images: {', '.join(map(shown, ids))}{more}"
            )
        return "\n".join(lines)

    def write_sheet(self, path: Path) -> None:
        """The first images of the largest groups, a row a group; a line of text where there are none.

        Raises:
            SinkError, AccessDeniedError: it cannot be written.
        """
        tiles: list[Tile | None] = []
        for rows in self._largest():
            first = rows.slice(0, NUM_COLUMNS).to_pylist()
            tiles += [Tile(row["uri"], _caption(row, rows.num_rows), part=row[PART.name]) for row in first]
            tiles += [None] * (NUM_COLUMNS - len(first))
        title = self.warning if tiles else f"no two images have a similarity from {self.min_similarity:g}"
        write_sheet(path, tiles or [None] * NUM_COLUMNS, title=title)

    def _largest(self) -> Iterator[pa.Table]:
        """The rows of each of the largest groups."""
        groups = self.table["group"].to_numpy()
        for group in range(min(_MAX_GROUPS_SHOWN, self.num_groups)):
            low, high = np.searchsorted(groups, [group, group + 1])
            yield self.table.slice(low, high - low)


def find_duplicates(features_uri: str, output: str, *, min_similarity: float) -> Duplicates:
    """Writes a Parquet table of the groups; images that resemble no other are in none.

    Args:
        features_uri: a sealed feature set, anywhere.
        output: the table's path.
        min_similarity: cosine similarity from which two images are near-duplicates.

    Raises:
        ConfigError: there is no image in it, or the output is not local.
        FeatureSetError: no sealed feature set there, or it is damaged.
        SinkError, AccessDeniedError: the output cannot be written.
    """
    path = local_path(output, "output")
    rows = VisibleRows(features_uri)
    vectors = PooledVectors(rows)
    if not len(vectors):
        raise ConfigError(f"{rows.root.uri} holds no features of any image, so there are no duplicates")
    with replacing(path) as staged:
        with tempfile.TemporaryDirectory(dir=staged.parent) as folder:
            lists, sample = fill(Path(folder), vectors)
            num_probes = probes_for(lists, sample, min_similarity)
            groups = group_numbers(lists, num_probes, min_similarity)
            table = _table(rows, lists, groups)
        pq.write_table(table, staged, compression="zstd", write_page_checksum=True)
    effort = f"{num_probes} of {lists.num_lists} lists searched for each"
    return Duplicates(table, len(vectors), min_similarity, effort, random_weights(rows.record.settings))


def _caption(row: dict[str, Any], num_images: int) -> tuple[str, str]:
    return f"group {row['group']} ({num_images})  {row['similarity']:.4f}", row["image_id"]


def _table(rows: VisibleRows, lists: Lists, groups: np.ndarray) -> pa.Table:
    """The rows of all groups, group by group in the order of the feature set."""
    members = np.flatnonzero(groups >= 0)
    order = np.argsort(groups[members], kind="stable")
    names, first = [], 0
    for batch in rows.batches(["image_id", "uri", PART.name]):
        names.append(batch.filter(pa.array(groups[first : first + batch.num_rows] >= 0)))
        first += batch.num_rows
    named = pa.Table.from_batches(names).take(pa.array(order))
    ordered = members[order]
    columns = [
        pa.array(groups[ordered], pa.int32()),
        named["image_id"],
        named["uri"],
        pa.array(_to_first(lists, ordered, groups[ordered])),
        named[PART.name],
    ]
    weights = rows.record.settings["weights"]
    metadata = {"sam2_embed.weights": json.dumps(weights), "sam2_embed.fingerprint": rows.record.fingerprint}
    return pa.Table.from_arrays(columns, schema=pa.schema(GROUPS, metadata=metadata))


def _to_first(lists: Lists, ordered: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The similarity of each member to the first of its group, (N,) float32; members come group by group."""
    firsts = ordered[np.searchsorted(groups, groups)]
    similarities = np.empty(len(ordered), np.float32)
    for start in range(0, len(ordered), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        one, other = lists.vectors(ordered[part]), lists.vectors(firsts[part])
        norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        similarities[part] = (one * other).sum(axis=1) / norms
    return similarities

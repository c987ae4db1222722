"""A feature set opened for reading: found through manifests and commits, never by listing shards.

Maps are read when a row is asked for, and only that row's; an image in several runs counts once, by the last.
"""

import copy
import logging
import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import FeatureSetError, ImageNotFoundError
from pipeline.featureset import catalog
from pipeline.featureset.maps import MapSpec, level_maps
from pipeline.featureset.part import Box
from pipeline.featureset.positions import read_positions
from pipeline.featureset.records import FeatureSetRecord
from pipeline.featureset.schema import EMBEDDING, REMOVED
from pipeline.readers.frames import VideoFrames, frames_of
from pipeline.readers.row import FeatureRow
from pipeline.readers.row_reader import RowReader
from pipeline.readers.run_contents import Run, runs_to_read
from pipeline.readers.shard_reader import ShardReader
from pipeline.readers.tiles import covering_tiles
from pipeline.readers.visibility import last_rows, take_rows
from pipeline.storage.folder import Folder

logger = logging.getLogger("pipeline")

_SHARD = ["shard", "num_rows", "size_bytes"]


def open_features(uri: str | os.PathLike[str], *, sealed_only: bool = False) -> "FeatureSet":
    """The feature set at `uri` as it is now; what is written later is not in it.

    A run that is not sealed yet counts with the units it has committed, which takes a request for each of them; a
    warning says how much of it is there. Its rows may go again, if it is abandoned.

    Args:
        uri: a local path, `s3://`, `gs://` or `az://`.
        sealed_only: leave runs out that are not sealed.

    Raises:
        FeatureSetError: no feature set there, nothing in it yet, or its runs are not of the same settings.
        AccessDeniedError, StoreUnavailableError: it cannot be read.
    """
    root = Folder(uri)
    record = catalog.feature_set_record(root)
    if record is None:
        raise FeatureSetError(f"{root.uri} holds no feature set (there is no featureset.json)")
    runs = runs_to_read(root, record, sealed_only=sealed_only)
    if not runs:
        kind = "sealed" if sealed_only else "sealed or committed"
        raise FeatureSetError(
            f"{root.uri} is not sealed yet, nothing in it is {kind}: "
            "run the command that writes it again until it is done"
        )
    for each in (run.description() for run in runs if not run.is_sealed):
        logger.warning(
            "%s is NOT SEALED: its run %d has committed %d of %d planned images (%d with features, %d quarantined); "
            "run the command that writes it again for the rest",
            *(root.uri, each["run"], each["num_embedded"] + each["num_quarantined"], each["num_planned"]),
            *(each["num_embedded"], each["num_quarantined"]),
        )
    return FeatureSet(root, record, runs)


class FeatureSet:
    """Rows by image id: `features["cats/0001.jpg"].backbone_fpn`; made by `open_features`.

    It holds no open file: threads may share it, and it may go to other processes, by fork or by pickle.
    """

    def __init__(self, root: Folder, record: FeatureSetRecord, runs: list[Run]) -> None:
        self._root, self._record, self._runs = root, record, runs
        self._maps = record.maps

    @property
    def uri(self) -> str:
        """Where the set is."""
        return self._root.uri

    def __len__(self) -> int:
        """Images with features."""
        return int(self._places.num_rows)

    def __contains__(self, image_id: object) -> bool:
        return isinstance(image_id, str) and self._find(image_id) is not None

    def __iter__(self) -> Iterator[str]:
        """The image ids, in the order of `image_ids`."""
        return iter(self.image_ids)

    def __getitem__(self, image_id: str) -> FeatureRow:
        """The row of an image; reads that image's maps and no other's.

        Raises:
            ImageNotFoundError: not in the set; says why it was quarantined, or which ids come close.
            FeatureSetError: its shard is missing, damaged or of other settings.
            AccessDeniedError, StoreUnavailableError: its shard cannot be read.
            TypeError: an id is a string.
        """
        if not isinstance(image_id, str):
            raise TypeError(f"an image id is a string, not {image_id!r}; features.image_ids has them in order")
        found = self._find(image_id)
        if found is None:
            raise ImageNotFoundError(self._not_found(image_id))
        return self._reader.row(found)

    def __repr__(self) -> str:
        maps = ", ".join(f"{spec.column} {spec.shape_chw} {spec.dtype}" for spec in self._maps)
        weights = ", ".join(f"{key} {value}" for key, value in self._record.settings["weights"].items())
        return (
            f"<FeatureSet {self._root.uri}: {len(self)} images, {self.quarantine.num_rows} quarantined; "
            f"maps {maps or 'none'}; weights {weights}{'' if self.is_sealed else '; NOT SEALED'}>"
        )

    def rows(self, positions: Iterable[int] | None = None) -> Iterator[FeatureRow]:
        """The rows one after the other, read a few ahead: at a disk's or a store's speed, where one by one waits.

        Args:
            positions: which rows, by their place in `image_ids`, in which order; None: all, which is shard by shard.

        Raises:
            FeatureSetError, AccessDeniedError, StoreUnavailableError: a shard cannot be read.
            IndexError: there is no such position.
        """
        return self._reader.rows(range(len(self)) if positions is None else positions)

    def frames(self, video: str) -> VideoFrames:
        """The frames of a video in order of time, as `source=video` embeds them: a sequence of rows, read when asked.

        Raises:
            ImageNotFoundError: there are none of that path below the source.
        """
        return frames_of(self.images, video, self.rows)

    def select(self, *columns: str) -> "FeatureSet":
        """The same set with some of its maps: rows have these alone, and of shards nothing else is read.

        A row's pooled vector is read when it is asked for.

        Raises:
            FeatureSetError: there is no such map; lists what there is.
        """
        known = [spec.column for spec in self._maps]
        unknown = [column for column in columns if column not in known]
        if unknown:
            raise FeatureSetError(f"{self._root.uri} has no map {unknown[0]!r}; it has {', '.join(known) or 'none'}")
        _ = self._reader  # what the two have in common is read once
        selected = copy.copy(self)
        del selected.__dict__["_reader"]
        selected._maps = tuple(spec for spec in self._maps if spec.column in columns)  # noqa: SLF001
        return selected

    def tiles(self, image_id: str, box: Box | None = None) -> list[str]:
        """The ids of the tiles that cover a box of a large image, row by row: `preprocess=tiles` made them.

        Args:
            image_id: the image's, without what comes after `#`.
            box: left, top, width, height in pixels of the upright image; None for all of it.

        Raises:
            FeatureSetError, ImageNotFoundError: no tiles in the set, or none of this image; says if quarantined.
            ValueError: the box is empty.
        """
        try:
            return covering_tiles(self.images, image_id, box)
        except ImageNotFoundError:
            raise ImageNotFoundError(self._not_found(image_id)) from None

    @property
    def maps(self) -> tuple[MapSpec, ...]:
        """What maps a row has: column, level, shape, dtype; from fine to coarse."""
        return self._maps

    @property
    def is_sealed(self) -> bool:
        """Whether every run that counts here is sealed, so that nothing of it can be missing or go away."""
        return all(run.is_sealed for run in self._runs)

    @cached_property
    def image_ids(self) -> list[str]:
        """The ids of all images with features, run by run in the order of the plan."""
        ids: list[str] = self._places["image_id"].to_pylist()
        return ids

    @property
    def metadata(self) -> dict[str, Any]:
        """What the numbers mean (settings, fingerprint, maps) and what each run holds; plain values.

        A run that is not sealed has `kind` `open`, its counts so far, and none of the tables that a seal names.
        """
        record = self._record.model_copy(update={"maps": self._maps})
        return {**record.model_dump(mode="json"), "runs": [run.description() for run in self._runs]}

    @cached_property
    def quarantine(self) -> pa.Table:
        """Images without features: image_id, uri, stage, error_class, error_type, message."""
        return take_rows([run.quarantine for run in self._runs], self._kept[1::2])

    @cached_property
    def pooled(self) -> pa.Table:
        """One vector an image, in the order of `image_ids`: image_id, embedding (list<float>, L2-normalised)."""
        return take_rows([run.index(["image_id", EMBEDDING.name]) for run in self._runs], self._kept[0::2])

    @cached_property
    def images(self) -> pa.Table:
        """One row an image, in the order of `image_ids`: image_id, uri, original_height, original_width in pixels.

        After these come the source's own columns: `part` of the object at `uri` where the image is not all of it, what
        a list of images said about them, boxes of tiles, timestamps of video frames. Null in runs that had none.
        """
        return self._places.drop_columns(["shard", "row"])

    @cached_property
    def files(self) -> list[str]:
        """The URIs of the Parquet shards with rows that count, for readers that take a list of files.

        A shard may also hold an image that a later run has embedded anew; `image_ids` has each image once.
        """
        names = pc.unique(self._places["shard"])
        self._shards.require_known(names)
        return [self._root.uri_of(name) for name in names.to_pylist()]

    @cached_property
    def removed(self) -> pa.Table:
        """Images that the source no longer had when the last run was planned: image_id. Their features stay."""
        removed = catalog.run_record(self._root, self._runs[-1].number).removed
        return REMOVED.empty_table() if removed is None else catalog.read_table(self._root, removed)

    @cached_property
    def _kept(self) -> list[pa.Array]:
        """The rows that count, per run: first of its index, then of its quarantine."""
        tables = (table for run in self._runs for table in (run.index(["image_id"]), run.quarantine))
        return last_rows([table["image_id"] for table in tables])

    @cached_property
    def _places(self) -> pa.Table:
        _ = self._shards  # with it, all that it takes to find a row is here
        tables = [run.index([name for name in run.index_columns if name != EMBEDDING.name]) for run in self._runs]
        return take_rows(tables, self._kept[0::2])

    @cached_property
    def _order(self) -> np.ndarray:
        """Positions by ascending id: looking through all ids would take 5 ms in a million, and eight bytes do not."""
        return np.asarray(pc.sort_indices(self._places["image_id"]))

    @cached_property
    def _shards(self) -> ShardReader:
        tables = [run.shards.select(_SHARD) for run in self._runs]
        return ShardReader(self._root, self._record.fingerprint, pa.concat_tables(tables))

    @cached_property
    def _reader(self) -> RowReader:
        return RowReader(
            self._shards,
            self._places,
            self._maps,
            load_positions=self._load_positions,
            no_mem_embed=self._record.no_mem_embed,
            is_local=self._root.is_local,
            is_whole=self._maps == self._record.maps,
        )

    @cached_property
    def _positions(self) -> dict[str, np.ndarray]:
        return read_positions(self._root, self._record)

    def _load_positions(self) -> tuple[np.ndarray, ...]:
        return tuple(self._positions[spec.column] for spec in level_maps(self._maps))

    def _find(self, image_id: str) -> int | None:
        ids, order = self._places["image_id"], self._order
        found = bisect_left(range(len(order)), image_id, key=lambda place: ids[int(order[place])].as_py())
        if found == len(order) or ids[int(order[found])].as_py() != image_id:
            return None
        return int(order[found])

    def _not_found(self, image_id: str) -> str:
        rows = self.quarantine.filter(pc.equal(self.quarantine["image_id"], image_id)).to_pylist()
        if rows:
            return f"{image_id!r} was quarantined in stage {rows[0]['stage']}: {rows[0]['message']}"
        close = get_close_matches(image_id, self.image_ids[:100_000], n=3)
        meant = f"; did you mean {', '.join(map(repr, close))}" if close else ""
        return f"{self._root.uri} has no image {image_id!r} among {len(self)}{meant}"

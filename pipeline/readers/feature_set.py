"""A feature set opened for reading: found through sealed manifests, never by listing shards.

Maps are read when a row is asked for, and only that row's; an image in several runs counts once, by the last.
"""

import os
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import AccessDeniedError, FeatureSetError, ImageNotFoundError, StoreUnavailableError
from pipeline.featureset import catalog
from pipeline.featureset.maps import level_maps
from pipeline.featureset.positions import read_positions
from pipeline.featureset.records import FeatureSetRecord, Manifest
from pipeline.readers.row import FeatureRow
from pipeline.readers.visibility import last_rows
from pipeline.storage.folder import Folder

_PLACE = ["image_id", "uri", "original_height", "original_width", "shard", "row"]


def open_features(uri: str | os.PathLike[str]) -> "FeatureSet":
    """The feature set at `uri`, in the state its last seal gave it.

    Raises:
        FeatureSetError: no feature set there, or none of its runs is sealed yet.
    """
    root = Folder(uri)
    record = catalog.feature_set_record(root)
    if record is None:
        raise FeatureSetError(f"{root.uri} holds no feature set (there is no featureset.json)")
    manifests = catalog.sealed_runs(root)
    if not manifests:
        raise FeatureSetError(f"{root.uri} is not sealed yet: run the command that writes it again until it is done")
    return FeatureSet(root, record, manifests)


class FeatureSet:
    """Rows by image id: `features["cats/0001.jpg"].backbone_fpn`; made by `open_features`."""

    def __init__(self, root: Folder, record: FeatureSetRecord, manifests: list[Manifest]) -> None:
        self._root, self._record, self._manifests = root, record, manifests

    @property
    def uri(self) -> str:
        """Where the set is."""
        return self._root.uri

    def __len__(self) -> int:
        """Images with features."""
        return int(self._places.num_rows)

    def __contains__(self, image_id: object) -> bool:
        return isinstance(image_id, str) and self._find(image_id) >= 0

    def __iter__(self) -> Iterator[str]:
        """The image ids, in the order of `image_ids`."""
        return iter(self.image_ids)

    def __getitem__(self, image_id: str) -> FeatureRow:
        """The row of an image; reads that image's maps and no other's.

        Raises:
            ImageNotFoundError: not in the set; says why it was quarantined, or which ids come close.
            FeatureSetError: its shard is missing or damaged.
            AccessDeniedError, StoreUnavailableError: its shard cannot be read.
            TypeError: an id is a string.
        """
        if not isinstance(image_id, str):
            raise TypeError(f"an image id is a string, not {image_id!r}; features.image_ids has them in order")
        found = self._find(image_id)
        if found < 0:
            raise ImageNotFoundError(self._not_found(image_id))
        place = self._places.slice(found, 1).to_pylist()[0]
        maps = self._record.maps
        values = self._read_row(
            place["shard"], place["row"], ["embedding", *(name for spec in maps for name in spec.names)]
        )
        return FeatureRow(
            image_id=image_id,
            uri=place["uri"],
            original_size=(place["original_height"], place["original_width"]),
            maps={spec.column: spec.read(values)[0] for spec in maps},
            load_positions=self._load_positions,
            embedding=np.array(values["embedding"][0].as_py(), np.float32),
            no_mem_embed=self._no_mem_embed,
        )

    def __repr__(self) -> str:
        maps = ", ".join(f"{spec.column} {spec.shape_chw} {spec.dtype}" for spec in self._record.maps)
        weights = ", ".join(f"{key} {value}" for key, value in self._record.settings["weights"].items())
        return (
            f"<FeatureSet {self._root.uri}: {len(self)} images, {self.quarantine.num_rows} quarantined; "
            f"maps {maps or 'none'}; weights {weights}>"
        )

    @cached_property
    def image_ids(self) -> list[str]:
        """The ids of all images with features, run by run in the order of the plan."""
        ids: list[str] = self._places["image_id"].to_pylist()
        return ids

    @property
    def metadata(self) -> dict[str, Any]:
        """What the numbers mean (settings, fingerprint, maps) and what each sealed run holds; plain values."""
        runs = [manifest.model_dump(mode="json") for manifest in self._manifests]
        return {**self._record.model_dump(mode="json"), "runs": runs}

    @cached_property
    def quarantine(self) -> pa.Table:
        """Images without features: image_id, uri, stage, error_class, error_type, message."""
        return _taken(self._quarantines, self._kept[1::2])

    @cached_property
    def pooled(self) -> pa.Table:
        """One vector an image, in the order of `image_ids`: image_id, embedding (list<float>, L2-normalised)."""
        return _taken(self._index_columns(["image_id", "embedding"]), self._kept[0::2])

    @cached_property
    def files(self) -> list[str]:
        """The URIs of the Parquet shards with rows that count, for readers that take a list of files.

        A shard may also hold an image that a later run has embedded anew; `image_ids` has each image once.
        """
        return [self._root.uri_of(name) for name in pc.unique(self._places["shard"]).to_pylist()]

    @cached_property
    def removed(self) -> pa.Table:
        """Images that the source no longer had when the last run was planned: image_id. Their features stay."""
        return catalog.removed_images(self._root, self._manifests)

    @cached_property
    def _quarantines(self) -> list[pa.Table]:
        return [catalog.read_table(self._root, manifest.quarantine) for manifest in self._manifests]

    @cached_property
    def _all_places(self) -> list[pa.Table]:
        return self._index_columns(_PLACE)

    @cached_property
    def _kept(self) -> list[pa.Array]:
        """The rows that count, per run: first of its index, then of its quarantine."""
        pairs = zip(self._all_places, self._quarantines, strict=True)
        return last_rows([table["image_id"] for pair in pairs for table in pair])

    @cached_property
    def _places(self) -> pa.Table:
        return _taken(self._all_places, self._kept[0::2])

    @cached_property
    def _positions(self) -> tuple[np.ndarray, ...]:
        stored = read_positions(self._root, self._record)
        return tuple(stored[spec.column] for spec in level_maps(self._record.maps))

    @cached_property
    def _no_mem_embed(self) -> np.ndarray | None:
        vector = self._record.no_mem_embed
        return None if vector is None else np.array(vector, np.float32)

    def _index_columns(self, columns: list[str]) -> list[pa.Table]:
        return [catalog.read_columns(self._root, manifest.index, columns) for manifest in self._manifests]

    def _load_positions(self) -> tuple[np.ndarray, ...]:
        return self._positions

    def _find(self, image_id: str) -> int:
        return int(pc.index(self._places["image_id"], image_id).as_py())

    def _read_row(self, shard: str, row: int, columns: list[str]) -> pa.Table:
        try:
            with self._root.open(shard) as stream:
                file = pq.ParquetFile(stream, page_checksum_verification=True)
                if self._record.maps:  # one image a row group
                    return file.read_row_group(row, columns).select(columns)
                return file.read(columns).select(columns).slice(row, 1)
        except FileNotFoundError:
            raise FeatureSetError(f"shard {self._root.uri_of(shard)} is missing; the feature set is damaged") from None
        except PermissionError as error:
            raise AccessDeniedError(f"no permission to read {self._root.uri_of(shard)}: {error.strerror}") from error
        except StoreUnavailableError:
            raise
        except catalog.DAMAGE as error:
            raise FeatureSetError(f"shard {self._root.uri_of(shard)} is damaged: {error}") from None

    def _not_found(self, image_id: str) -> str:
        rows = self.quarantine.filter(pc.equal(self.quarantine["image_id"], image_id)).to_pylist()
        if rows:
            return f"{image_id!r} was quarantined in stage {rows[0]['stage']}: {rows[0]['message']}"
        close = get_close_matches(image_id, self.image_ids[:100_000], n=3)
        meant = f"; did you mean {', '.join(map(repr, close))}" if close else ""
        return f"{self._root.uri} has no image {image_id!r} among {len(self)}{meant}"


def _taken(tables: list[pa.Table], rows: list[pa.Array]) -> pa.Table:
    return pa.concat_tables(table.take(kept) for table, kept in zip(tables, rows, strict=True))

"""Refs of images become refs of their parts when a run is planned: the tiles of large ones, the frames of moving ones.

How many parts there are is in the header of each file, which decoder processes read; an image of which it cannot be
told stays one ref, whose turn in the run brings up what is wrong with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pyarrow as pa

from pipeline.errors import ImageError
from pipeline.featureset.part import Part
from pipeline.featureset.schema import PART, TILES
from pipeline.preprocessing.tiles import NO_BOX, tile_boxes
from pipeline.sources.image_ref import REFS_AT_ONCE, Ask, Source
from pipeline.storage.spreading import in_threads

_MOST_DECODERS = 4  # each a process of 230 MB

# What an image becomes: the end of an id, a part of its own part, and the values of further columns.
Found = tuple[str, Part, tuple[Any, ...]]


@dataclass(frozen=True)
class Tiles:
    """Overlapping tiles, as `tile_boxes` has them; `side_px` is that of the encoder's input."""

    tile_px: int
    overlap_px: int
    side_px: int
    probe: ClassVar[str] = "size"
    fields: ClassVar[list[pa.Field]] = list(TILES)

    def parts(self, whole: Part, found: Any) -> Iterator[Found]:
        """The tiles; one that is nowhere of an image whose size cannot be told."""
        if found is None:
            yield "", replace(whole, box=NO_BOX), (None,) * len(TILES)
            return
        size = (found["height"], found["width"])
        boxes = tile_boxes(size, tile_px=self.tile_px, overlap_px=self.overlap_px, orientation=found["orientation"])
        for box in boxes:
            scale = (self.side_px / box[3], self.side_px / box[2])
            yield "#box={},{},{},{}".format(*box), replace(whole, box=box), (*box, *size, *scale)


@dataclass(frozen=True)
class Frames:
    """Every frame of an animation, every page of a document; an image that has but one stays what it is."""

    probe: ClassVar[str] = "frames"
    fields: ClassVar[list[pa.Field]] = []

    def parts(self, whole: Part, found: Any) -> Iterator[Found]:
        """The frames."""
        if found is None or found == 1:
            yield "", whole, ()
            return
        for number in range(found):
            yield f"#frame={number}", replace(whole, page=number), ()


class ExpandedSource:
    """The parts of another source's images, in its order; those of one image come one after the other.

    Args:
        source: the other one, whose images are files or ranges of them.
        parting: `Tiles` or `Frames`.
        ask: finds out how many parts there are, see `execution.probing`.
    """

    def __init__(self, source: Source, parting: "Tiles | Frames", *, ask: Ask) -> None:
        self._source, self._parting, self._ask = source, parting, ask
        own = [field for field in source.schema if field.name != PART.name]
        self.schema = pa.schema([*own, PART, *parting.fields])

    @property
    def description(self) -> dict[str, Any]:
        """That of the other source: how its images are parted is among the settings."""
        return self._source.description

    @property
    def num_ignored(self) -> int:
        """That of the other source."""
        return self._source.num_ignored

    def refs(self) -> Iterator[pa.RecordBatch]:
        """All parts.

        Raises:
            SourceError, AccessDeniedError, StoreUnavailableError: the source cannot be listed, or its images not read.
        """
        for batch in self._source.refs():
            rows, found = [], []
            for number, parts in enumerate(in_threads(self._parts, batch.to_pylist())):
                for part in parts:
                    rows.append(number)
                    found.append(part)
                    if len(found) == REFS_AT_ONCE:
                        yield self._batch(batch, rows, found)
                        rows, found = [], []
            if found:
                yield self._batch(batch, rows, found)

    def _parts(self, ref: dict[str, Any]) -> Iterator[Found]:
        whole = Part.of(ref.get(PART.name))
        if whole.damage is not None:  # stands for images that are not known
            return iter([("", whole, (None,) * len(self._parting.fields))])
        try:
            found = self._ask(ref, self._parting.probe)
        except ImageError:  # its turn in the run brings up why
            found = None
        return self._parting.parts(whole, found)

    def _batch(self, batch: pa.RecordBatch, rows: list[int], found: list[Found]) -> pa.RecordBatch:
        taken = batch.take(pa.array(rows, pa.int64()))
        ids = [image_id + end for image_id, (end, _, _) in zip(taken["image_id"].to_pylist(), found, strict=True)]
        made = {"image_id": ids, PART.name: [part.text for _, part, _ in found]}
        for place, field in enumerate(self._parting.fields):
            made[field.name] = [values[place] for _, _, values in found]
        arrays = [
            pa.array(made[field.name], field.type) if field.name in made else taken[field.name] for field in self.schema
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

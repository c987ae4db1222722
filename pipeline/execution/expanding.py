"""Refs of images become refs of their parts when a run is planned: the tiles of large ones, the frames of moving ones.

How many parts there are is in the header of each file, which decoder processes read; an image of which it cannot be
told stays one ref, whose turn in the run brings up what is wrong with it.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from pipeline.errors import ConfigError, ImageError
from pipeline.execution.fetch import DecodeLimits
from pipeline.execution.image_bytes import ImageBytes, Listed, Ranges
from pipeline.featureset.part import Part
from pipeline.featureset.schema import PART, TILES
from pipeline.preprocessing.served_file import BLOCK_BYTES
from pipeline.preprocessing.tiles import NO_BOX, tile_boxes
from pipeline.sources.image_ref import REFS_AT_ONCE, Source
from pipeline.storage.spreading import in_threads
from pipeline.storage.trouble import PATIENCE_S

if TYPE_CHECKING:
    from pipeline.preprocessing.isolation import IsolatedDecoder

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
        source: the other one.
        parting: `Tiles` or `Frames`.
        limits: of one look at an image.
        patience_s: how long a store may be in trouble, in seconds.
    """

    def __init__(
        self, source: Source, parting: "Tiles | Frames", *, limits: DecodeLimits, patience_s: float = PATIENCE_S
    ) -> None:
        self._source, self._parting, self._limits = source, parting, limits
        self._bytes = ImageBytes(patience_s, limits.file_bytes)
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
            ConfigError: an image is of a kind that is not parted.
        """
        with ExitStack() as open_decoders:
            decoders: SimpleQueue[IsolatedDecoder] = SimpleQueue()
            for _ in range(min(_MOST_DECODERS, len(os.sched_getaffinity(0)))):
                decoders.put(open_decoders.enter_context(closing(self._limits.decoder(side_px=1))))
            for batch in self._source.refs():
                yield from self._expanded(batch, decoders)

    def _expanded(self, batch: pa.RecordBatch, decoders: "SimpleQueue[IsolatedDecoder]") -> Iterator[pa.RecordBatch]:
        rows, found = [], []
        refs = batch.to_pylist()
        for number, parts in enumerate(in_threads(lambda ref: self._parts(ref, decoders), refs)):
            for part in parts:
                rows.append(number)
                found.append(part)
                if len(found) == REFS_AT_ONCE:
                    yield self._batch(batch, rows, found)
                    rows, found = [], []
        if found:
            yield self._batch(batch, rows, found)

    def _parts(self, ref: dict[str, Any], decoders: "SimpleQueue[IsolatedDecoder]") -> Iterator[Found]:
        whole = Part.of(ref.get(PART.name))
        if whole != Part(bytes_at=whole.bytes_at):
            raise ConfigError(
                f"{ref['image_id']} is {ref[PART.name]} of {ref['uri']}, which is not parted any further: leave out "
                "preprocess=tiles and preprocess.frames=all"
            )
        return self._parting.parts(whole, self._probed(ref, decoders))

    def _probed(self, ref: dict[str, Any], decoders: "SimpleQueue[IsolatedDecoder]") -> Any:
        columns = {name: ref[name] for name in ("image_id", "uri", "size_bytes", "version")}
        try:
            image = self._bytes.to_probe(Listed(**columns, part=ref.get(PART.name)))
            begun = image if isinstance(image, bytes) else _Begun(image)
            decoder = decoders.get()
            try:
                return decoder.probe(begun, self._parting.probe)
            finally:
                decoders.put(decoder)
        except ImageError:
            return None

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


class _Begun:
    """An image whose first block is here, so that decoders need not wait for it, nor hear that it cannot be had."""

    def __init__(self, ranges: Ranges) -> None:
        self._ranges = ranges
        self.key, self.size_bytes = ranges.key, ranges.size_bytes
        self._head = ranges.read(0, min(BLOCK_BYTES, ranges.size_bytes))

    def read(self, start: int, end: int) -> bytes:
        """The bytes from one offset to before another."""
        return self._head[start:end] if end <= len(self._head) else self._ranges.read(start, end)

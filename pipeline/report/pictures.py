"""Images of a feature set to look at, read again from where they were, as squares like those the encoder saw.

They are decoded where a run decodes them: in processes without credentials, by the same rules, whatever part they are.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Self

import numpy as np

from pipeline.errors import ImageError
from pipeline.exports.picture import NO_PICTURE
from pipeline.featureset.part import Part
from pipeline.featureset.schema import PART
from pipeline.preprocessing.isolation import IsolatedDecoder
from pipeline.preprocessing.pixel_rules import USUAL, PixelRules
from pipeline.redaction import shown
from pipeline.storage.folder import Folder
from pipeline.storage.reading import read_uri
from pipeline.storage.roots import Roots
from pipeline.storage.spreading import in_threads

# A report is not worth what a run is: what takes longer or more than this is not shown.
_TIMEOUT_S, _MEMORY_BYTES, _MAX_BYTES = 10.0, 2 << 30, 256 << 20
_MOST_DECODERS = 4
_NOT_IN_TIME = "not read: there was no time left for it"


class Pictures:
    """Reads and decodes; the processes start at once and end with the block.

    Args:
        side_px: of the squares.
        rules: how pixels are made.
        num_decoders: how many at once; None: as many as there are cores, up to four.
        roots: what may be read, if the URIs are not to be trusted; without them nothing of the web is.
        until: when to stop reading, by the monotonic clock, in seconds; None reads all.
    """

    def __init__(
        self,
        side_px: int,
        *,
        rules: PixelRules = USUAL,
        num_decoders: int | None = None,
        roots: Roots | None = None,
        until: float | None = None,
    ) -> None:
        self._roots, self._until = roots, until
        self._num = num_decoders or min(_MOST_DECODERS, len(os.sched_getaffinity(0)))
        self._decoders = [
            IsolatedDecoder(side_px=side_px, timeout_s=_TIMEOUT_S, memory_bytes=_MEMORY_BYTES, rules=rules)
            for _ in range(self._num)
        ]
        self._idle: SimpleQueue[IsolatedDecoder] = SimpleQueue()
        for decoder in self._decoders:
            self._idle.put(decoder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for decoder in self._decoders:
            decoder.close()

    def squares(self, images: Iterable[Mapping[str, Any]]) -> Iterator[np.ndarray | str]:
        """The (side, side, 3) uint8 pixels of each image (`uri`, and `part` if it has one), or why there are none."""
        return in_threads(self._square, images, self._num)

    def _square(self, image: Mapping[str, Any]) -> np.ndarray | str:
        if self._until is not None and time.monotonic() > self._until:
            return _NOT_IN_TIME
        decoder = self._idle.get()
        try:
            slots = decoder.slots(1)
            part = image.get(PART.name)
            decoder.decode_into(self._source(image["uri"], Part.of(part)), slots, 0, part=part)
            return seen(slots.pixels_NCHW[0])
        except NO_PICTURE as error:
            return shown(error.strerror or error if isinstance(error, OSError) else error)
        finally:
            self._idle.put(decoder)

    def _source(self, uri: str, part: Part) -> "bytes | _Served":
        if part.damage is not None:
            raise ImageError(part.damage, stage="fetch", error_type="DamagedShard")
        start, end = part.bytes_at or (0, None)
        if part.row is None and part.video_frame is None and part.box is None:
            return read_uri(uri, roots=self._roots, start=start, end=end, max_bytes=_MAX_BYTES)
        if end is None:
            if self._roots is not None:
                self._roots.check(uri)
            folder, _, name = uri.rpartition("/")
            end = Folder(folder or "/").size_bytes(name)
        return _Served(uri, start, end - start, self._roots)


@dataclass(frozen=True)
class _Served:
    """A file of which the decoder asks for ranges, see `served_file.RangeReader`."""

    uri: str
    first: int
    size_bytes: int
    roots: Roots | None

    @property
    def key(self) -> str:
        """Names it."""
        return f"{self.first} {self.size_bytes} {self.uri}"

    def read(self, start: int, end: int) -> bytes:
        """Its bytes from one offset to before another."""
        return read_uri(self.uri, roots=self.roots, start=self.first + start, end=self.first + end)


def seen(pixels_CHW: np.ndarray) -> np.ndarray:
    """The (H, W, 3) uint8 pixels that normalised ones (3, H, W) float32 were made of."""
    from pipeline.preprocessing.transform import DEVIATION, MEAN  # torch comes with it

    deviation, mean = np.array(DEVIATION, np.float32), np.array(MEAN, np.float32)
    colours_HWC: np.ndarray = np.clip((pixels_CHW.transpose(1, 2, 0) * deviation + mean) * 255 + 0.5, 0, 255)
    return colours_HWC.astype(np.uint8)

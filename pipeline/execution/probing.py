"""What a plan has to know of files before it can list their images: asked of decoder processes, which parse them."""

import os
from collections.abc import Mapping
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from pipeline.execution.fetch import DecodeLimits
from pipeline.execution.image_bytes import ImageBytes, Ranges
from pipeline.execution.listed import Listed
from pipeline.featureset.schema import PART
from pipeline.preprocessing.served_file import BLOCK_BYTES
from pipeline.storage.roots import Roots
from pipeline.storage.trouble import PATIENCE_S

if TYPE_CHECKING:
    from pipeline.preprocessing.isolation import IsolatedDecoder

_MOST_DECODERS = 4  # each a process of 230 MB
# What is asked by reading all of a file.
_READ_WHOLE = "frames"


class Prober:
    """Asks about files, as many at once as there are threads that ask and cores; processes start when they are needed.

    Args:
        limits: of one question.
        patience_s: how long a store may be in trouble, in seconds, at each read.
        roots: what may be read, if the list of images is not to be trusted.
    """

    def __init__(self, *, limits: DecodeLimits, patience_s: float = PATIENCE_S, roots: Roots | None = None) -> None:
        self._limits, self._bytes = limits, ImageBytes(patience_s, limits.file_bytes, roots)
        self._idle: SimpleQueue[IsolatedDecoder | None] = SimpleQueue()
        self.close()

    def ask(self, ref: Mapping[str, Any], kind: str) -> Any:
        """What is found of the file, or of the part of it, that a ref is.

        Args:
            ref: a row of `REFS`, perhaps with `part`.
            kind: what to ask, see `decoder_requests.probe`.

        Raises:
            ImageError: it cannot be read or parsed.
            StoreUnavailableError, AccessDeniedError: it is not the file's fault.
        """
        image = Listed(ref["image_id"], ref["uri"], ref["size_bytes"], ref["version"], ref.get(PART.name))
        source = self._bytes.to_probe(image, is_read_whole=kind == _READ_WHOLE)
        begun = source if isinstance(source, bytes) else _Begun(source)
        decoder = self._idle.get()
        try:
            decoder = decoder or self._limits.decoder(side_px=1)
            return decoder.probe(begun, kind)
        finally:
            self._idle.put(decoder)

    def close(self) -> None:
        """Ends the processes; asking again would start others."""
        while not self._idle.empty():
            decoder = self._idle.get()
            if decoder is not None:
                decoder.close()
        for _ in range(min(_MOST_DECODERS, len(os.sched_getaffinity(0)))):
            self._idle.put(None)


class _Begun:
    """An image whose first block is here, so that decoders need not wait for it, nor hear that it cannot be had."""

    def __init__(self, ranges: Ranges) -> None:
        self._ranges = ranges
        self.key, self.size_bytes = ranges.key, ranges.size_bytes
        self._head = ranges.read(0, min(BLOCK_BYTES, ranges.size_bytes))

    def read(self, start: int, end: int) -> bytes:
        """The bytes from one offset to before another."""
        return self._head[start:end] if end <= len(self._head) else self._ranges.read(start, end)

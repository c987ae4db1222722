"""Decoding in a process of its own, so that an image that crashes, hangs or bloats its decoder costs no other image.

An image is blamed only when it fails in two processes, the second a fresh one: the first may have been ended by
somebody else, or spoiled by an earlier image.
"""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from pipeline.errors import ImageError
from pipeline.preprocessing.decoder_process import Decoded, DecoderLostError, DecoderProcess, NotBegunError
from pipeline.preprocessing.pixel_rules import USUAL, PixelRules
from pipeline.preprocessing.served_file import RangeReader
from pipeline.preprocessing.shared_memory import PixelMemory, PixelSlots, file_of

__all__ = ["IsolatedDecoder", "PixelSlots"]

T = TypeVar("T")

_MAX_STARTS = 5  # processes that end before they begin an image, in a row: then it is not by chance
_ADVICE = {
    "DecoderCrashed": "the image or its codec is broken: encode it anew, or leave it out",
    "DecodeTimeout": "encode it anew, leave it out, or allow more seconds",
    "DecodeMemory": "encode it anew in a smaller size, leave it out, or allow more bytes",
}


class IsolatedDecoder:
    """Decodes and resizes in a child process, which lives on from image to image and is replaced when it dies.

    Make it once in a process, in a thread that lives on, for the child dies with the one that started it. It takes a
    second or two to start, which the constructor does not wait for.

    Args:
        side_px: side of the square that images are resized to, in pixels.
        timeout_s: how long one image may take.
        memory_bytes: how much memory one image may take; one of 64 megapixels takes 1.4 GB.
        rules: what the run chose of how pixels are made.

    Attributes:
        num_replaced: children that another had to take the place of.
    """

    def __init__(
        self,
        *,
        side_px: int,
        timeout_s: float = 60.0,
        memory_bytes: int = 6 * 2**30,
        rules: PixelRules = USUAL,
    ) -> None:
        self._side_px, self._rules = side_px, rules
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._memory = PixelMemory(side_px)
        self._lock = threading.Lock()
        self.num_replaced = 0
        self._process = self._start()

    @property
    def pid(self) -> int:
        """The process id of the present child."""
        return self._process.pid

    def slots(self, count: int) -> PixelSlots:
        """Room for `count` images of this decoder."""
        return self._memory.slots(count)

    def decode_into(
        self, image: bytes | RangeReader, slots: PixelSlots, place: int, *, part: str | None = None
    ) -> Decoded:
        """Decodes `image`; its pixels are then `slots.pixels_NCHW[place]`, equal to those of `preprocess`.

        Args:
            image: its bytes, or what reads them where they are wanted.
            slots: from `slots`.
            place: in them.
            part: text of the `Part` to decode; None for the whole.

        Returns:
            The original's height and width in pixels, and the child's seconds by step: `decode` and `resize`.

        Raises:
            ImageError: stage `decode`; as `decode` raises it, or because the image twice ended its decoder
                (`DecoderCrashed`), outlasted its time (`DecodeTimeout`) or its memory (`DecodeMemory`).
            RuntimeError: the child cannot start, or a fault of this program, with its traceback.
            PipelineError: whatever the reader raises.
        """
        if not 0 <= place < len(slots.pixels_NCHW):
            raise IndexError(f"place {place} of {len(slots.pixels_NCHW)}")
        reader = None if isinstance(image, bytes) else image
        with self._lock, file_of(image if isinstance(image, bytes) else b"") as encoded:
            where = (slots.handle, place * slots.slot_bytes)
            timeout_s = self._timeout_s
            return self._twice(
                lambda process: process.decode(encoded, where, timeout_s=timeout_s, part=part, reader=reader)
            )

    def probe(self, image: bytes | RangeReader, kind: str) -> Any:
        """What the child finds out about an image without decoding it: see `decoder_requests.probe`.

        Raises:
            ImageError, RuntimeError, PipelineError: as `decode_into`.
        """
        reader = None if isinstance(image, bytes) else image
        data = image if isinstance(image, bytes) else b""
        with self._lock, file_of(data) as encoded, file_of(b"") as found:
            timeout_s = self._timeout_s
            return self._twice(
                lambda process: process.probe(kind, (encoded, found), timeout_s=timeout_s, reader=reader)
            )

    def close(self) -> None:
        """Ends the child; decoding again would start another."""
        self._process.close()

    def _twice(self, ask: Callable[[DecoderProcess], T]) -> T:
        """The answer to a question about an image, which is to blame if two children were lost over it."""
        try:
            return self._try(ask)
        except DecoderLostError as error:
            first = error
        self._replace()
        try:
            return self._try(ask)
        except DecoderLostError as second:
            if not self._process.is_open:
                self._replace()
            raise _blame(first, second) from None

    def _try(self, ask: Callable[[DecoderProcess], T]) -> T:
        """One try that counts: from a child that has begun the image."""
        for _ in range(_MAX_STARTS):
            try:
                return ask(self._process)
            except NotBegunError as error:
                how = str(error)
                self._replace()
        raise RuntimeError(f"none of {_MAX_STARTS} decoder processes lived to begin an image; the last {how}")

    def _replace(self) -> None:
        self.num_replaced += 1
        self._process.close()
        self._process = self._start()

    def _start(self) -> DecoderProcess:
        return DecoderProcess(side_px=self._side_px, memory_bytes=self._memory_bytes, rules=self._rules)


def _blame(first: DecoderLostError, second: DecoderLostError) -> ImageError:
    alike = str(first) == str(second)
    how = f"tried twice, and both times {second}" if alike else f"tried twice: {first}; then {second}"
    return ImageError(f"{how}; {_ADVICE[second.error_type]}", stage="decode", error_type=second.error_type)

"""The first step of every unit: its images' bytes to pixels; a bad image becomes a quarantine row here.

Bytes are parsed in a process of their own, which a bad image may take down with it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pyarrow as pa

from pipeline.errors import ImageError
from pipeline.execution.blocks import DecodedImage, DecodedUnit
from pipeline.execution.image_bytes import ImageBytes, Ranges, require_place
from pipeline.execution.listed import Listed
from pipeline.featureset import catalog
from pipeline.featureset.records import QuarantineRow
from pipeline.observability.accounting import Made
from pipeline.observability.timing import Stopwatch
from pipeline.preprocessing.isolation import IsolatedDecoder, PixelSlots
from pipeline.preprocessing.pixel_rules import USUAL, PixelRules
from pipeline.storage.folder import Folder
from pipeline.storage.roots import Roots
from pipeline.storage.trouble import PATIENCE_S, take_retries
from pipeline.storage.uri import redacted


@dataclass(frozen=True)
class DecodeLimits:
    """What decoding one image may take, what its file may have, and how its pixels are made."""

    timeout_s: float = 60.0
    memory_bytes: int = 6 * 2**30
    file_bytes: int = 256 * 2**20
    rules: PixelRules = USUAL

    def decoder(self, side_px: int) -> IsolatedDecoder:
        """A decoder process with these limits, for pixels of that side."""
        return IsolatedDecoder(
            side_px=side_px, timeout_s=self.timeout_s, memory_bytes=self.memory_bytes, rules=self.rules
        )


class FetchAndDecode:
    """One unit of the plan to one block of pixels; runs on CPUs, anywhere in the cluster.

    Args:
        side_px: side of the encoder's square input.
        sink_uri: the feature set, to see which units somebody else has committed.
        run: the run.
        limits: of one image.
        patience_s: how long a store may be in trouble, in seconds; all images of a unit share it.
        roots: what may be read, if the list of images is not to be trusted.
        where: says on which node this process is.
    """

    def __init__(
        self,
        *,
        side_px: int,
        sink_uri: str,
        run: int,
        limits: DecodeLimits = DecodeLimits(),
        patience_s: float = PATIENCE_S,
        roots: Roots | None = None,
        where: Callable[[], str] = str,
    ) -> None:
        self._side_px, self._sink_uri, self._run = side_px, sink_uri, run
        self._limits, self._patience_s, self._where = limits, patience_s, where
        self._bytes = ImageBytes(patience_s, limits.file_bytes, roots)

    def __call__(self, block: pa.Table) -> pa.Table:
        """Reads and decodes the images of the unit in the block's one row."""
        row, began = block.to_pylist()[0], time.time()
        decoder = _decoder(self._side_px, self._limits)
        watch = Stopwatch()
        with watch.step("commit"):
            standing = catalog.commit_record(Folder(self._sink_uri, self._patience_s), self._run, row["unit"])
        if standing is not None:
            return DecodedUnit(row["unit"], [], decoder.slots(0).pixels_NCHW, [], is_committed=True).to_block()
        listed, num_replaced = Listed.of_unit(row), decoder.num_replaced
        fetched = self._bytes.of_unit(listed, watch)
        fetched_at = time.time()
        slots = decoder.slots(len(listed))
        images: list[DecodedImage] = []
        errors: list[ImageError] = []
        quarantine = []
        unreadable: dict[str, ImageError] = {}
        windowed: list[Ranges] = []
        for image, data in zip(listed, fetched, strict=True):
            source: bytes | Ranges | ImageError = data
            if image.is_windowed and not isinstance(data, ImageError):
                ranges = Ranges(image, self._bytes, watch)
                windowed.append(ranges)
                source = unreadable.get(ranges.key, ranges)
            try:
                images.append(_decode(decoder, image, source, slots=slots, place=len(images), watch=watch))
            except ImageError as error:
                errors.append(error)
                quarantine.append(QuarantineRow.of(image.image_id, redacted(image.uri), error))
                # Each file that cannot be read costs a decoder, which was waiting for it; not each part of it.
                if isinstance(source, Ranges) and source.failure is not None:
                    unreadable[source.key] = source.failure
        if errors and not images and all(error.stage == "fetch" for error in errors):
            require_place(listed, errors)
        pixels_NCHW = slots.pixels_NCHW[: len(images)]
        return DecodedUnit(
            row["unit"],
            images,
            pixels_NCHW,
            quarantine,
            watch.seconds,
            made=Made(began, fetched_at, time.time(), self._where()),
            fetched_bytes=_num_bytes(fetched) + sum(ranges.fetched_bytes for ranges in windowed),
            retries={"storage": take_retries(), "decoder": decoder.num_replaced - num_replaced},
        ).to_block()


def _num_bytes(fetched: list[bytes | ImageError]) -> int:
    """How many were fetched; pages of one file share theirs."""
    return sum(len(data) for data in {id(data): data for data in fetched if isinstance(data, bytes)}.values())


@cache
def _decoder(side_px: int, limits: DecodeLimits) -> IsolatedDecoder:
    """This process's decoder; Ray gives a process one unit after another."""
    return limits.decoder(side_px)


def _decode(
    decoder: IsolatedDecoder,
    image: Listed,
    source: bytes | Ranges | ImageError,
    *,
    slots: PixelSlots,
    place: int,
    watch: Stopwatch,
) -> DecodedImage:
    """The image in its place; raises what was wrong with it."""
    if isinstance(source, ImageError):
        raise source
    decoded = decoder.decode_into(source, slots, place, part=image.part)
    watch.add(decoded.seconds)
    return DecodedImage(image.image_id, redacted(image.uri), decoded.height, decoded.width)

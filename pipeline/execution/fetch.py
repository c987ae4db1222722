"""The first step of every unit: its images' bytes to pixels; a bad image becomes a quarantine row here.

Bytes are parsed in a process of their own, which a bad image may take down with it; the store being in trouble is
told apart from an image being in trouble, and never becomes a quarantine row.
"""

import errno
import socket
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.errors import AccessDeniedError, ImageError, StoreUnavailableError
from pipeline.execution.blocks import DecodedImage, DecodedUnit
from pipeline.featureset import catalog
from pipeline.featureset.part import Part
from pipeline.featureset.records import QuarantineRow
from pipeline.featureset.schema import PART
from pipeline.observability.timing import Stopwatch
from pipeline.preprocessing.isolation import IsolatedDecoder, PixelSlots
from pipeline.sources.image_ref import store_version
from pipeline.storage.folder import Folder
from pipeline.storage.reading import FileChangedError, read_uri
from pipeline.storage.trouble import PATIENCE_S, CredentialsError, patiently

# What a disk says when it, or this process, is in trouble, and not the file.
_TROUBLE_OF_DISKS = frozenset({errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT})


@dataclass(frozen=True)
class DecodeLimits:
    """What decoding one image may take: seconds and bytes."""

    timeout_s: float = 60.0
    memory_bytes: int = 6 * 2**30


@dataclass(frozen=True)
class _Listed:
    """An image as the plan has it."""

    image_id: str
    uri: str
    size_bytes: int
    version: str
    part: str | None = None

    @property
    def is_windowed(self) -> bool:
        """Whether it is a small part of what its bytes show, to be read where it is wanted."""
        part = Part.of(self.part)
        return part.box is not None or part.video_frame is not None


class _Ranges:
    """The bytes of a windowed image, for its decoder.

    Raises:
        ImageError, StoreUnavailableError, AccessDeniedError: from `read`.
    """

    def __init__(self, image: _Listed, patience_s: float, watch: Stopwatch) -> None:
        self._image, self._patience_s, self._watch = image, patience_s, watch
        self._first, end = Part.of(image.part).bytes_at or (0, image.size_bytes)
        self.size_bytes = end - self._first
        self.key = f"{image.version} {self._first} {image.uri}"

    def read(self, start: int, end: int) -> bytes:
        """The bytes from one offset to before another."""
        span = (self._first + start, self._first + end)
        with self._watch.step("fetch"):
            data = _fetch(self._image, time.monotonic() + self._patience_s, span)
        if isinstance(data, bytes):
            return data
        if _is_trouble(data):
            raise StoreUnavailableError(str(data))
        raise data


class FetchAndDecode:
    """One unit of the plan to one block of pixels; runs on CPUs, anywhere in the cluster.

    Args:
        side_px: side of the encoder's square input.
        sink_uri: the feature set, to see which units somebody else has committed.
        run: the run.
        limits: of one image.
        patience_s: how long a store may be in trouble, in seconds; all images of a unit share it.
    """

    def __init__(
        self,
        *,
        side_px: int,
        sink_uri: str,
        run: int,
        limits: DecodeLimits = DecodeLimits(),
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._side_px, self._sink_uri, self._run = side_px, sink_uri, run
        self._limits, self._patience_s = limits, patience_s

    def __call__(self, block: pa.Table) -> pa.Table:
        """Reads and decodes the images of the unit in the block's one row."""
        row = block.to_pylist()[0]
        decoder = _decoder(self._side_px, self._limits)
        watch = Stopwatch()
        with watch.step("commit"):
            standing = catalog.commit_record(Folder(self._sink_uri, self._patience_s), self._run, row["unit"])
        if standing is not None:
            return DecodedUnit(row["unit"], [], decoder.slots(0).pixels_NCHW, [], is_committed=True).to_block()
        listed = _listed(row)
        fetched = _fetch_all(listed, self._patience_s, watch)
        slots = decoder.slots(len(listed))
        images: list[DecodedImage] = []
        quarantine = []
        for image, data in zip(listed, fetched, strict=True):
            try:
                source = _Ranges(image, self._patience_s, watch) if image.is_windowed else data
                images.append(_decode(decoder, image, source, slots=slots, place=len(images), watch=watch))
            except ImageError as error:
                quarantine.append(QuarantineRow.of(image.image_id, image.uri, error))
        pixels_NCHW = slots.pixels_NCHW[: len(images)]
        return DecodedUnit(row["unit"], images, pixels_NCHW, quarantine, watch.seconds).to_block()


def _listed(row: dict[str, Any]) -> list[_Listed]:
    """The images of a row of the plan."""
    parts = row.get(PART.name) or [None] * len(row["image_id"])
    columns = [row[name] for name in ("image_id", "uri", "size_bytes", "version")]
    return [_Listed(*each) for each in zip(*columns, parts, strict=True)]


def _span(image: _Listed) -> tuple[int, int | None]:
    """Which bytes of the file are the image's."""
    return Part.of(image.part).bytes_at or (0, None)


@cache
def _decoder(side_px: int, limits: DecodeLimits) -> IsolatedDecoder:
    """This process's decoder; Ray gives a process one unit after another."""
    return IsolatedDecoder(side_px=side_px, timeout_s=limits.timeout_s, memory_bytes=limits.memory_bytes)


def _decode(
    decoder: IsolatedDecoder,
    image: _Listed,
    source: bytes | _Ranges | ImageError,
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
    return DecodedImage(image.image_id, image.uri, decoded.height, decoded.width)


def _fetch_all(listed: list[_Listed], patience_s: float, watch: Stopwatch) -> list[bytes | ImageError]:
    """The bytes of each image, or why there are none.

    Raises:
        StoreUnavailableError, AccessDeniedError: it is not the images' fault.
    """
    until = time.monotonic() + patience_s
    with watch.step("fetch"):
        fetched = [b"" if image.is_windowed else _fetch(image, until, _span(image)) for image in listed]
        came = next((image for image, data in zip(listed, fetched, strict=True) if isinstance(data, bytes)), None)
        if came is None:
            _require_place(listed, [data for data in fetched if isinstance(data, ImageError)])
            return fetched
        return _blamed(listed, fetched, came, patience_s=patience_s)


def _fetch(image: _Listed, until: float, span: tuple[int, int | None]) -> bytes | ImageError:
    patience_s, (start, end), version = max(0.0, until - time.monotonic()), span, store_version(image.version)
    try:
        data = patiently(lambda: read_uri(image.uri, version, start=start, end=end), image.uri, patience_s)
    except StoreUnavailableError as error:
        return _refused("StoreUnavailable", str(error), "transient")
    except CredentialsError as error:
        raise AccessDeniedError(f"{image.uri} cannot be read: {error.strerror}") from error
    except FileChangedError as error:
        return _refused("ImageChanged", f"{error}; a later run embeds it as it is then", "transient")
    except OSError as error:
        if error.errno in _TROUBLE_OF_DISKS:
            return _refused("StoreUnavailable", error.strerror or str(error), "transient")
        # On a disk a file that cannot be read is the file's fault; a store may have it, or allow it, tomorrow.
        error_class = "transient" if "://" in image.uri else "permanent"
        return _refused(type(error).__name__, error.strerror or str(error), error_class)
    if end is not None and len(data) < end - start:
        return _refused("TruncatedFile", f"it ends before byte {end} of {image.uri}, where its image does", "transient")
    return data


def _require_place(listed: list[_Listed], errors: list[ImageError]) -> None:
    """Of a unit of which no image came, blames the images only if the place they are in is all right.

    Raises:
        StoreUnavailableError, AccessDeniedError: it is not.
    """
    trouble = next((error for error in errors if _is_trouble(error)), None)
    if trouble is not None:
        raise StoreUnavailableError(str(trouble))
    if all(error.error_type == "PermissionError" and error.error_class == "transient" for error in errors):
        raise AccessDeniedError(f"none of {len(listed)} images can be read, the first is {listed[0].uri}: {errors[0]}")
    folder = Path(listed[0].uri).parent
    is_local = "://" not in listed[0].uri
    if is_local and errors[0].error_type == "FileNotFoundError" and not (folder.is_dir() and any(folder.iterdir())):
        raise StoreUnavailableError(
            f"{folder} is not there, or empty, on the node {socket.gethostname()}: mount the source on every node; "
            "if its images are gone for good, give the run up with jobs/abandon.py"
        )


def _blamed(
    listed: list[_Listed], fetched: list[bytes | ImageError], came: _Listed, *, patience_s: float
) -> list[bytes | ImageError]:
    """Asks once more for what was in trouble, and blames an image only if the store still gives another.

    Raises:
        StoreUnavailableError: it does not, so it is not the images' fault.
    """
    num_troubled = sum(_is_trouble(data) for data in fetched)
    for place, data in enumerate(fetched):
        if _is_trouble(data):
            fetched[place] = _fetch(listed[place], time.monotonic() + patience_s / num_troubled, _span(listed[place]))
            if _is_trouble(fetched[place]):
                patiently(lambda: read_uri(came.uri), came.uri, patience_s=0)
    return fetched


def _is_trouble(data: bytes | ImageError) -> bool:
    return isinstance(data, ImageError) and data.error_type == "StoreUnavailable"


def _refused(error_type: str, message: str, error_class: str) -> ImageError:
    return ImageError(message, stage="fetch", error_type=error_type, error_class=error_class)

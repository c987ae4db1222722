"""Bytes of the images of a unit, or whose fault it is that there are none.

The store being in trouble is told apart from an image being in trouble, and never becomes a quarantine row. Only a host
on the web that does not answer is its images' fault: lists of pages name many hosts, and some are always gone.
"""

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import AccessDeniedError, ImageError, StoreUnavailableError, UriError
from pipeline.execution.listed import Listed, Span
from pipeline.featureset.part import Part
from pipeline.observability.timing import Stopwatch
from pipeline.sources.image_ref import store_version
from pipeline.storage.addresses import HostNotFoundError
from pipeline.storage.reading import FileChangedError, read_uri
from pipeline.storage.roots import Roots
from pipeline.storage.trouble import (
    PATIENCE_S,
    TROUBLE_OF_DISKS,
    CredentialsError,
    FileTooLargeError,
    RangeNotThereError,
    patiently,
    too_large,
)
from pipeline.storage.uri import shown

# How long one host on the web may be in trouble: a unit may name as many hosts as it has images.
_WEB_PATIENCE_S = 10.0


@dataclass(frozen=True)
class ImageBytes:
    """Reads bytes of images.

    Args:
        patience_s: how long a store may be in trouble, in seconds; all images of a unit share it.
        max_bytes: how many an image may have.
        roots: what may be read, if the list of images is not to be trusted.
    """

    patience_s: float = PATIENCE_S
    max_bytes: int | None = None
    roots: Roots | None = None

    def of_unit(self, listed: Sequence[Listed], watch: Stopwatch) -> list[bytes | ImageError]:
        """The bytes of each image, or why there are none; none are read of windowed ones.

        Raises:
            StoreUnavailableError, AccessDeniedError: it is not the images' fault.
        """
        until = time.monotonic() + self.patience_s
        fetched: list[bytes | ImageError] = []
        with watch.step("fetch"):
            for place, image in enumerate(listed):
                is_same = place > 0 and _what(image) == _what(listed[place - 1])
                # Pages of one file are neighbours.
                fetched.append(fetched[-1] if is_same and not image.is_windowed else self._ahead(image, until))
            return self._blamed(listed, fetched)

    def to_probe(self, image: Listed, *, is_read_whole: bool) -> "Ranges | bytes":
        """What a decoder is given to look at an image: ranges of its bytes, or all where their number is not known.

        Raises:
            ImageError: it cannot be had, or is too large to be read whole.
            StoreUnavailableError, AccessDeniedError: that is not the image's fault.
        """
        if not image.has_size:
            return _required(self.one(image, time.monotonic() + self.patience_s))
        if is_read_whole and self.max_bytes is not None and image.size_bytes > self.max_bytes:
            raise _without(image, too_large(image.uri, image.size_bytes, self.max_bytes))
        return Ranges(image, self, Stopwatch())

    def _ahead(self, image: Listed, until: float) -> bytes | ImageError:
        """The bytes of an image before it is decoded; none of a windowed one."""
        damage, (start, end) = Part.of(image.part).damage, image.span
        if damage is not None:
            return _refused("DamagedShard", damage, "transient")
        return b"" if image.is_windowed or start == end else self.one(image, until)

    def one(self, image: Listed, until: float, span: Span | None = None) -> bytes | ImageError:
        """The bytes of an image, or some of its file's.

        Args:
            image: the image.
            until: how long a store may be in trouble, by the monotonic clock.
            span: which bytes; None for all that are the image's.

        Raises:
            AccessDeniedError: the credentials are refused.
        """
        patience_s = max(0.0, until - time.monotonic())
        try:
            return self._read(
                image, span or image.span, min(patience_s, _WEB_PATIENCE_S) if image.is_on_the_web else patience_s
            )
        except UriError as error:
            return _refused(error.error_type, str(error), "permanent")
        except StoreUnavailableError as error:
            error_type = "HostUnavailable" if image.is_on_the_web else "StoreUnavailable"
            return _refused(error_type, str(error), "transient")
        except CredentialsError as error:
            raise AccessDeniedError(f"{shown(image.uri)} cannot be read: {error.strerror}") from error
        except FileChangedError as error:
            return _refused("ImageChanged", f"{error}; a later run embeds it as it is then", "transient")
        except OSError as error:
            return _without(image, error)

    def _read(self, image: Listed, span: Span, patience_s: float) -> bytes:
        version, (start, end) = store_version(image.version), span
        if self.max_bytes is not None and end is None and image.size_bytes > self.max_bytes:
            raise too_large(image.uri, image.size_bytes, self.max_bytes)
        return patiently(
            lambda: read_uri(image.uri, version, roots=self.roots, start=start, end=end, max_bytes=self.max_bytes),
            shown(image.uri),
            patience_s,
        )

    def _blamed(self, listed: Sequence[Listed], fetched: list[bytes | ImageError]) -> list[bytes | ImageError]:
        """Asks once more for what was in trouble, and blames an image only if its own store still gives another.

        Raises:
            StoreUnavailableError: it does not, so it is not the images' fault.
        """
        came = {
            image.store: image for image, data in zip(listed, fetched, strict=True) if isinstance(data, bytes) and data
        }
        num_troubled = sum(_is_trouble(data) for data in fetched)
        for place, data in enumerate(fetched):
            if not _is_trouble(data):
                continue
            witness = came.get(listed[place].store)
            if witness is None:
                raise StoreUnavailableError(str(data))
            fetched[place] = self.one(listed[place], time.monotonic() + self.patience_s / num_troubled)
            if _is_trouble(fetched[place]) and _is_trouble(again := self.one(witness, time.monotonic())):
                raise StoreUnavailableError(str(again))
        return fetched


class Ranges:
    """The bytes of an image that is read where it is wanted, for its decoder.

    Args:
        image: the image.
        reader: reads them.
        watch: is told how long that takes, as `fetch`.

    Attributes:
        failure: why some of them could not be had, once that was so.
        fetched_bytes: how many were read so far.
    """

    def __init__(self, image: Listed, reader: ImageBytes, watch: Stopwatch) -> None:
        self._image, self._reader, self._watch = image, reader, watch
        self.failure: ImageError | None = None
        self.fetched_bytes = 0
        self._first, end = Part.of(image.part).bytes_at or (0, image.size_bytes)
        self.size_bytes = end - self._first
        self.key = f"{image.version} {self._first} {image.uri}"

    def read(self, start: int, end: int) -> bytes:
        """The bytes from one offset to before another.

        Raises:
            ImageError: they cannot be had.
            StoreUnavailableError, AccessDeniedError: that is not the image's fault.
        """
        span = (self._first + start, self._first + end)
        with self._watch.step("fetch"):
            data = self._reader.one(self._image, time.monotonic() + self._reader.patience_s, span)
        if isinstance(data, ImageError) and not _is_trouble(data):
            self.failure = data
        found = _required(data)
        self.fetched_bytes += len(found)
        return found


def _what(image: Listed) -> tuple[str, str, Span]:
    return image.uri, image.version, image.span


def _required(data: bytes | ImageError) -> bytes:
    """The bytes of an image; raises what is in their place, or that it is not the image's fault."""
    if isinstance(data, bytes):
        return data
    if _is_trouble(data):
        raise StoreUnavailableError(str(data))
    raise data


def _without(image: Listed, error: OSError) -> ImageError:
    """What an error of the disk, the store or the web means for an image."""
    said = error.strerror or str(error)
    if isinstance(error, FileTooLargeError):
        return _refused("FileTooLarge", f"{said}: raise execution.decode_max_mib", "permanent")
    if error.errno in TROUBLE_OF_DISKS:
        return _refused("StoreUnavailable", said, "transient")
    return _refused(type(error).__name__, said, _class_of(error, image))


def _class_of(error: OSError, image: Listed) -> str:
    """On a disk or the web a file that cannot be had is at fault; a store may have it, or allow it, tomorrow."""
    if isinstance(error, HostNotFoundError | RangeNotThereError):  # there may be no network; the file may be growing
        return "transient"
    return "permanent" if image.is_local or image.is_on_the_web else "transient"


def require_place(listed: Sequence[Listed], errors: Sequence[ImageError]) -> None:
    """Of a unit of which no image came, blames the images only if the place they are in is all right.

    Raises:
        StoreUnavailableError, AccessDeniedError: it is not.
    """
    if all(error.error_type == "PermissionError" and error.error_class == "transient" for error in errors):
        first = shown(listed[0].uri)
        raise AccessDeniedError(f"none of {len(listed)} images can be read, the first is {first}: {errors[0]}")
    _require_folder(listed[0], errors[0])


def _require_folder(image: Listed, error: ImageError) -> None:
    """Blames a local image for not being there only if others are: a folder that is not mounted has none.

    Raises:
        StoreUnavailableError: its folder is not there, or empty.
    """
    folder = Path(image.uri).parent
    if not image.is_local or error.error_type != "FileNotFoundError" or (folder.is_dir() and any(folder.iterdir())):
        return
    raise StoreUnavailableError(
        f"{folder} is not there, or empty, on the node {socket.gethostname()}: mount the source on every node; "
        "if its images are gone for good, give the run up with jobs/abandon.py"
    )


def _is_trouble(data: bytes | ImageError) -> bool:
    return isinstance(data, ImageError) and data.error_type == "StoreUnavailable"


def _refused(error_type: str, message: str, error_class: str) -> ImageError:
    return ImageError(message, stage="fetch", error_type=error_type, error_class=error_class)

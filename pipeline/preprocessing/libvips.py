"""libvips, for what Pillow cannot do: parts of an image without the rest. It gets no name of a file, and three loaders.

It has one thread and keeps nothing from call to call, so that memory is the caller's rows and little more.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyvips

from pipeline.featureset.part import Box
from pipeline.preprocessing.refusal import refused
from pipeline.preprocessing.served_file import ServedFile

_LOADERS = {"JPEG": "Jpeg", "PNG": "Png", "TIFF": "Tiff"}
FORMATS = frozenset(_LOADERS)

_DTYPES = {"uchar": np.uint8, "ushort": np.uint16}
_TRUNCATED = re.compile("premature end|(?:read|seek) error|not enough data|bad seek", re.IGNORECASE)
_UNSUPPORTED = re.compile("not (?:supported|configured|implemented)|unsupported", re.IGNORECASE)

pyvips.concurrency_set(1)
pyvips.cache_set_max(0)
pyvips.operation_block_set("VipsForeignLoad", True)
for _loader in _LOADERS.values():
    pyvips.operation_block_set(f"VipsForeignLoad{_loader}", False)


class OpenedImage:
    """An image of which regions are decoded; its header is read by the constructor.

    Args:
        file: of the image.
        format: one of `FORMATS`.
        is_random: whether regions are read in any order, as only a TIFF of tiles can be; of all others rows are read
            once, from the first to the last.

    Attributes:
        size: stored (height, width) in pixels.

    Raises:
        ImageError: stage `decode`; it cannot be read, or has pixels that are not of 8 or 16 bits.
    """

    def __init__(self, file: ServedFile, format: str, *, is_random: bool) -> None:  # noqa: A002
        self._feed = _Feed(file)
        source = pyvips.SourceCustom()
        source.on_read(self._feed.read)
        source.on_seek(self._feed.seek)
        # What asks for bytes must go before what gives them: libvips knows nothing of Python's references.
        self._held: list[Any] = [source]
        file.seek(0)
        load = getattr(pyvips.Image, f"{_LOADERS[format].lower()}load_source")
        # A tile of a TIFF that cannot be decoded comes out black, and only the log of errors has it.
        self._is_strict = format == "TIFF"
        with self._feed.refusing(is_strict=self._is_strict):
            # libvips would refuse a TIFF of one large strip; how much memory is too much is the process's own matter.
            image = load(
                source,
                access="random" if is_random else "sequential",
                fail_on="error",
                unlimited=format == "TIFF",
            )
        if image.format not in _DTYPES:
            raise refused("UnsupportedMode", f"its pixels are of the type {image.format}; convert it to 8 bits first")
        self.size = (image.height, image.width)
        self._dtype, self._num_bands = _DTYPES[image.format], image.bands
        self._region: Any = pyvips.Region.new(image)
        self._held += [image, self._region]

    def __del__(self) -> None:
        self._region = None
        while self._held:
            self._held.pop()

    def empty(self, height: int, width: int) -> np.ndarray:
        """Room for pixels (height, width, bands)."""
        return np.empty((height, width, self._num_bands), self._dtype)

    def region(self, box: Box) -> np.ndarray:
        """The (height, width, bands) uint8 or uint16 pixels of a box within the stored image.

        Raises:
            ImageError: stage `decode`; truncated or damaged.
        """
        with self._feed.refusing(is_strict=self._is_strict):
            data = self._region.fetch(*box)
        return np.frombuffer(data, self._dtype).reshape(box[3], box[2], self._num_bands)


class _Feed:
    """The file as libvips asks for it. It cannot be told of an exception, which therefore waits here."""

    def __init__(self, file: ServedFile) -> None:
        self._file = file
        self._error: BaseException | None = None

    def read(self, num_bytes: int) -> bytes | None:
        try:
            return self._file.read(num_bytes)
        except BaseException as error:  # noqa: BLE001
            self._error = error
            return None

    def seek(self, offset: int, whence: int) -> int:
        try:
            return self._file.seek(offset, whence)
        except ValueError:
            return -1

    @contextmanager
    def refusing(self, *, is_strict: bool) -> Iterator[None]:
        """What libvips says inside the block leaves it as the image's fault, unless its bytes could not be had.

        Args:
            is_strict: whether all that it says counts, and not only what it raises.
        """
        pyvips.vips_lib.vips_error_clear()
        said = ""
        try:
            yield
        except pyvips.Error as error:
            said = str(error.detail) or str(error)
        else:
            said = _said() if is_strict else ""
        if self._error is not None:
            raise self._error
        if said:
            raise _refused(said)


def _said() -> str:
    return str(pyvips.ffi.string(pyvips.vips_lib.vips_error_buffer()).decode(errors="replace"))


def _refused(text: str) -> Exception:
    said = "; ".join(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    if "memory" in said:
        return MemoryError(said)
    kind = "DamagedImage"
    if _UNSUPPORTED.search(said):
        kind = "UnsupportedMode"
    elif _TRUNCATED.search(said):
        kind = "TruncatedImage"
    return refused(kind, f"cannot be decoded: {said}")

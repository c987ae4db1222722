"""How decoding says no: whatever a codec raises becomes an ImageError of the decode stage, with a name for its kind."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from pipeline.errors import ImageError

LARGER = "raise execution.decode_max_megapixels, or cut it up with preprocess=tiles"
# What Pillow says when metadata unpack to more than it takes: 1 MiB a text or profile, 64 MiB in all.
_METADATA_BOMBS = ("MAX_TEXT_CHUNK", "MAX_TEXT_MEMORY")


def refused(error_type: str, message: str) -> ImageError:
    """The error of an image that cannot be decoded, whenever it is tried."""
    return ImageError(message, stage="decode", error_type=error_type)


@contextmanager
def refusing() -> Iterator[None]:
    """Whatever Pillow raises inside the block leaves it as the image's fault; its warnings go nowhere.

    Raises:
        ImageError: stage `decode`.
    """
    with warnings.catch_warnings():
        # About damage that it could do without, and from 89 megapixels on, which real cameras reach.
        warnings.simplefilter("ignore")
        try:
            yield
        except ImageError:
            raise
        except Image.DecompressionBombError as error:
            raise refused(
                "ImageTooLarge", f"{_counted(str(error))} are more than are decoded whole: {LARGER}"
            ) from None
        except Exception as error:  # noqa: BLE001  Pillow's parsers raise what they like on damaged bytes
            raise refused(_kind(str(error)), f"cannot be decoded: {error}") from None


def _counted(said: str) -> str:
    """The number of pixels, of what Pillow says; the limit that it names is not the one that can be set."""
    found = re.search(r"\d+ pixels", said)
    return found[0] if found else said


def _kind(said: str) -> str:
    if any(name in said for name in _METADATA_BOMBS):
        return "MetadataTooLarge"
    return "TruncatedImage" if "truncated" in said.lower() else "DamagedImage"

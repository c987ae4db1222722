"""The picture of a row, to be looked at: read again from where its image was, which may be a part of a file."""

import numpy as np

from pipeline.errors import ImageError
from pipeline.featureset.part import Part
from pipeline.preprocessing.decode import decode
from pipeline.storage.reading import read_uri

# A row may name a shard of gigabytes, which is not read for a picture.
_MAX_BYTES = 256 << 20


def picture(uri: str, part: str | None) -> np.ndarray:
    """The (height, width, 3) uint8 pixels of an image.

    Args:
        uri: of its file.
        part: which part of the file it is; None: all of it.

    Raises:
        ImageError: it cannot be decoded, or is a part that is not drawn (`NotDrawn`): a tile, whose file may be of any
            size, or a row of a table or a frame of a video, which only decoder processes open.
        OSError, StoreUnavailableError: it cannot be read.
    """
    of = Part.of(part)
    if of != Part(bytes_at=of.bytes_at, page=of.page):
        raise ImageError(f"{part} of {uri} is not drawn", stage="decode", error_type="NotDrawn")
    start, end = of.bytes_at or (0, None)
    return decode(read_uri(uri, start=start, end=end, max_bytes=_MAX_BYTES), frame=of.page or 0)

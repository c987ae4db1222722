"""The picture of a row: read again from where its image was, which may be a part of a file.

It is decoded in this process, for decoder processes give normalised pixels, which nobody can look at.
"""

import numpy as np

from pipeline.errors import ImageError, UriError
from pipeline.featureset.part import Part
from pipeline.preprocessing.decode import decode
from pipeline.storage.reading import read_uri
from pipeline.storage.roots import Roots

# A row may name a shard of gigabytes, which is not read for a picture.
_MAX_BYTES = 256 << 20
# What is raised where there is no picture of a row.
NO_PICTURE = (OSError, ImageError, UriError)


def picture(uri: str, part: str | None, *, roots: Roots | None = None) -> np.ndarray:
    """The (height, width, 3) uint8 pixels of an image.

    Args:
        uri: of its file.
        part: which part of the file it is; None: all of it.
        roots: what may be read, if the URI is not to be trusted; without them nothing of the web is.

    Raises:
        ImageError: it cannot be decoded, or is a part that is not drawn (`NotDrawn`): a tile, whose file may be of any
            size, or a row of a table or a frame of a video, which only decoder processes open.
        UriError: it may not be read, or not from here.
        OSError, StoreUnavailableError: it cannot be read.
    """
    of = Part.of(part)
    if of != Part(bytes_at=of.bytes_at, page=of.page):
        raise ImageError(f"{part} of {uri} is not drawn", stage="decode", error_type="NotDrawn")
    start, end = of.bytes_at or (0, None)
    return decode(read_uri(uri, roots=roots, start=start, end=end, max_bytes=_MAX_BYTES), frame=of.page or 0)

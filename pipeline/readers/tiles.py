"""Which tiles of a large image cover a box of it, by the index alone."""

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import FeatureSetError, ImageNotFoundError
from pipeline.featureset.part import Box
from pipeline.featureset.schema import TILES

# Between the id of an image and where in it a tile is, in the tile's id.
_AT = "#box="


def covering_tiles(images: pa.Table, image_id: str, box: Box | None) -> list[str]:
    """The ids of an image's tiles that have a pixel in a box, row by row, those of a row from left to right.

    Args:
        images: of the feature set, with the columns of tiles.
        image_id: the image's.
        box: left, top, width, height in pixels of the image; None for all of it.

    Raises:
        FeatureSetError: the set has no tiles.
        ImageNotFoundError: none of this image.
        ValueError: the box is empty.
    """
    if not set(TILES.names) <= set(images.column_names):
        raise FeatureSetError("this feature set has no tiles: embed with preprocess=tiles")
    found = images.filter(pc.starts_with(images["image_id"], f"{image_id}{_AT}"))
    if not found.num_rows:
        raise ImageNotFoundError(f"there are no tiles of an image {image_id!r}")
    if box is not None:
        if box[2] < 1 or box[3] < 1:
            raise ValueError(f"a box is (left, top, width, height), and {box} has no pixels")
        across = _meet(found["box_left"], found["box_width"], box[0::2])
        down = _meet(found["box_top"], found["box_height"], box[1::2])
        found = found.filter(pc.and_(across, down))
    ordered = found.sort_by([("box_top", "ascending"), ("box_left", "ascending")])
    ids: list[str] = ordered["image_id"].to_pylist()
    return ids


def _meet(first: pa.ChunkedArray, size: pa.ChunkedArray, span: tuple[int, ...]) -> pa.ChunkedArray:
    """Whether tiles and a span, by their starts and lengths, have something in common along an axis."""
    return pc.and_(pc.less(first, span[0] + span[1]), pc.greater(pc.add(first, size), span[0]))

"""The images most similar to an image of the set, to another one, or to a part of one; as a table and as a sheet."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError, ImageError
from pipeline.exports.image_table import IndexedImage
from pipeline.exports.index_record import check_current, random_weights
from pipeline.exports.region import Region, cell_box, checked_region, region_box, region_vector
from pipeline.exports.sheet import Box, Tile, write_sheet
from pipeline.exports.vector_index import VectorIndex
from pipeline.redaction import shown
from pipeline.storage.reading import read_uri

_HEAD = ("rank", "similarity", "image_id", "uri")


@dataclass(frozen=True)
class Hit:
    """A similar image: cosine similarity, and where in it the similar cell is, in pixels of the original."""

    similarity: float
    image: IndexedImage
    box: Box | None


@dataclass(frozen=True)
class Found:
    """What a search found, best first; `query` is the tile that a sheet begins with."""

    query: Tile
    hits: list[Hit]
    warning: str | None

    def text(self) -> str:
        """A table, a line a hit."""
        rows: list[tuple[str, ...]] = [_HEAD, *(_row(rank, hit) for rank, hit in enumerate(self.hits, start=1))]
        if any(hit.box for hit in self.hits):
            boxes = ["box (x0,y0,x1,y1)", *(",".join(map(str, hit.box or ())) for hit in self.hits)]
            rows = [(*row[:3], box, row[3]) for row, box in zip(rows, boxes, strict=True)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
        return "\n".join([*([self.warning] if self.warning else []), *lines])

    def write_sheet(self, path: Path) -> None:
        """The query and what was found as one picture.

        Raises:
            SinkError, AccessDeniedError: it cannot be written.
        """
        hits = [Tile(hit.image.uri, (f"{hit.similarity:.4f}", hit.image.image_id), hit.box) for hit in self.hits]
        write_sheet(path, [self.query, *hits], title=self.warning)


def search_by_id(index: VectorIndex, image_id: str, k: int) -> Found:
    """The k images most similar to one of the set, which is left out itself.

    Raises:
        ImageNotFoundError: no such image.
        ConfigError: the index holds cells.
    """
    if index.record.grid_side is not None:
        raise ConfigError(
            "this index holds the cells of a grid: say which part of the image, for example region=[0,0,1,1]"
        )
    check_current(index.record)
    row = index.images.find(image_id)
    hits = index.nearest(index.vectors_of(row)[0], k, leave_out=row)
    return _found(index, hits, Tile(index.image(row).uri, ("query", image_id)))


def search_by_region(index: VectorIndex, image_id: str, k: int, *, region: Sequence[float]) -> Found:
    """The k images with a cell most similar to a part of an image of the set, which is left out itself.

    Args:
        index: of cells.
        image_id: the image.
        k: how many images.
        region: x0, y0, x1, y1 in fractions of the image's width and height.

    Raises:
        ImageNotFoundError: no such image.
        ConfigError: the region is empty or outside, or the index holds no cells.
    """
    if index.record.grid_side is None:
        raise ConfigError("region= needs an index of cells: build one with jobs/build_index.py vectors=grid")
    part: Region = checked_region(region)
    check_current(index.record)
    row = index.images.find(image_id)
    image = index.image(row)
    hits = index.nearest(region_vector(index.vectors_of(row), part), k, leave_out=row)
    query = Tile(image.uri, ("query", image_id), region_box(part, (image.height, image.width)))
    return _found(index, hits, query)


def search_by_image(index: VectorIndex, uri: str, k: int, *, checkpoint: str | None = None) -> Found:
    """The k images most similar to one that need not be in the set.

    Args:
        index: of pooled vectors.
        uri: a path, or the URI of an object (`s3://`, `gs://`, `az://`).
        k: how many images.
        checkpoint: where the set's weights are; random ones need none.

    Raises:
        ConfigError: no such image, it cannot be decoded, the checkpoint is another, or the index holds cells.
    """
    if index.record.grid_side is not None:
        raise ConfigError("this index holds the cells of a grid; image= needs one with vectors=pooled")
    from pipeline.exports.new_image import encode_image  # torch takes seconds

    check_current(index.record)
    try:
        vector = encode_image(read_uri(uri), index.record.settings, checkpoint)
    except ImageError as error:
        raise ConfigError(f"image={uri}: {error}") from None
    except OSError as error:
        raise ConfigError(f"image={uri} cannot be read: {error.strerror or error}") from None
    return _found(index, index.nearest(vector, k), Tile(uri, ("query", uri)))


def _found(index: VectorIndex, hits: list[tuple[float, int, int]], query: Tile) -> Found:
    side, found = index.record.grid_side, []
    for similarity, row, cell in hits:
        image = index.image(row)
        box = None if side is None else cell_box(cell, side, (image.height, image.width))
        found.append(Hit(similarity, image, box))
    return Found(query, found, random_weights(index.record.settings))


def _row(rank: int, hit: Hit) -> tuple[str, str, str, str]:
    return str(rank), f"{hit.similarity:.4f}", shown(hit.image.image_id), shown(hit.image.uri)

"""An index opened for searching: its record, its lists and its table of images; memory-mapped, so opening is cheap."""

import numpy as np
import pyarrow as pa

from pipeline.errors import ConfigError
from pipeline.exports.image_table import ImageTable, IndexedImage
from pipeline.exports.index_record import IMAGES, RECORD, IndexRecord
from pipeline.exports.lists import Lists
from pipeline.exports.local_output import local_path

# Of the cells found, many lie in the same few images: so many are asked for at first, for each image wanted.
_CELLS_PER_IMAGE = 16


class VectorIndex:
    """Nearest images or cells, by cosine similarity, as well as the record says.

    Args:
        uri: the index's folder.

    Raises:
        ConfigError: there is no index, or it is damaged.
    """

    def __init__(self, uri: str) -> None:
        path = local_path(uri, "index.uri")
        if not (path / RECORD).is_file():
            raise ConfigError(f"index.uri={path} holds no index; build one with jobs/build_index.py")
        self.record = IndexRecord.from_bytes((path / RECORD).read_bytes(), str(path / RECORD))
        try:
            self._lists, self.images = Lists(path), ImageTable(path / IMAGES)
        except (OSError, RuntimeError, ValueError, pa.ArrowException) as error:
            raise ConfigError(
                f"the index {path} is damaged: {error}; build it again with jobs/build_index.py"
            ) from None
        found = (len(self._lists), len(self.images))
        if found != (self.record.num_vectors, self.record.num_images):
            raise ConfigError(
                f"the index {path} is damaged: it has {found[0]} vectors of {found[1]} images; build it again"
            )

    @property
    def cells_per_image(self) -> int:
        """Vectors of an image."""
        return (self.record.grid_side or 1) ** 2

    def image(self, row: int) -> IndexedImage:
        """The image in a row of the table of images."""
        return self.images.take(np.array([row]))[0]

    def vectors_of(self, row: int) -> np.ndarray:
        """The vectors of an image, (cells, D) float32."""
        first = row * self.cells_per_image
        return self._lists.vectors(np.arange(first, first + self.cells_per_image))

    def nearest(self, query: np.ndarray, k: int, *, leave_out: int | None = None) -> list[tuple[float, int, int]]:
        """The best of the images, each by its best vector.

        Args:
            query: (D,) float32, L2-normalised.
            k: how many images.
            leave_out: the row of an image that does not count.

        Returns:
            Cosine similarity, row and cell, best first; fewer than k where the lists that are searched hold no more.
        """
        cells, total = self.cells_per_image, len(self._lists)
        wanted = min(k + 1 if cells == 1 else (k + 1) * _CELLS_PER_IMAGE, total)
        while True:
            _, (numbers,) = self._lists.search(query[None], wanted, self.record.num_probes)
            best: dict[int, int] = {}
            for number in numbers[numbers >= 0].tolist():
                if number // cells != leave_out:
                    best.setdefault(number // cells, number)
            if len(best) >= k or wanted == total or numbers[-1] < 0:
                return self._hits(query, list(best.values())[:k])
            wanted = min(4 * wanted, total)

    def _hits(self, query: np.ndarray, numbers: list[int]) -> list[tuple[float, int, int]]:
        """Similarities computed anew: lengths in float16 are not near enough to one to call a copy a copy."""
        if not numbers:
            return []
        vectors = self._lists.vectors(np.array(numbers))
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
        similarities = np.clip(vectors @ query / lengths, -1, 1).tolist()
        return [
            (each, *divmod(number, self.cells_per_image)) for each, number in zip(similarities, numbers, strict=True)
        ]

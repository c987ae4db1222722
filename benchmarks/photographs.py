"""Photographs to measure with: JPEGs of 1.9 megapixels, each different, made from those that scikit-image ships."""

from pathlib import Path

from PIL import Image

from pipeline.sources.sample import SampleSource

SIZE = (1600, 1200)


def make_photographs(folder: Path, count: int, size: tuple[int, int] = SIZE) -> None:
    """Writes `count` JPEGs of (width, height) `size` into a new folder."""
    folder.mkdir()
    uris = [uri for batch in SampleSource().refs() for uri in batch["uri"].to_pylist()]
    for number in range(count):
        with Image.open(uris[number % len(uris)]) as photo:
            photo.convert("RGB").resize(size).rotate(number).save(folder / f"{number:06d}.jpg", quality=90)

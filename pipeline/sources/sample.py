"""Photographs that the scikit-image package ships: real input without a network, for first runs and tests."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.errors import SourceError
from pipeline.sources.image_ref import ImageRef
from pipeline.storage import Folder

PHOTOGRAPHS = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "hubble_deep_field.jpg",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)


class SampleSource:
    """The shipped photographs, in alphabetical order.

    Raises:
        SourceError: scikit-image is not installed, or came without its photographs.
    """

    num_ignored = 0

    def __init__(self) -> None:
        self.description: dict[str, Any] = {"kind": "sample"}
        package = find_spec("skimage")
        if package is None or package.origin is None:
            raise SourceError("source=sample needs scikit-image: pip install 'sam2-embed[sample]'")
        self._folder = Folder(Path(package.origin).parent / "data")

    def refs(self) -> Iterator[ImageRef]:
        """All photographs."""
        shipped = {entry.name: entry for entry in self._folder.files()}
        for name in PHOTOGRAPHS:
            if name not in shipped:
                raise SourceError(f"scikit-image came without {name}: reinstall it, or use source=directory")
            # The package's files get new dates with every installation; their bytes stay the same.
            yield ImageRef(name, self._folder.uri_of(name), shipped[name].size_bytes, str(shipped[name].size_bytes))

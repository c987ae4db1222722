"""Photographs that the scikit-image package ships: real input without a network, for first runs and tests."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.errors import SourceError
from pipeline.sources.image_ref import REFS, refs_batch
from pipeline.storage.folder import Folder
from pipeline.storage.trouble import PATIENCE_S

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

    schema = REFS
    num_ignored = 0

    def __init__(self, uri: None = None, patience_s: float = PATIENCE_S) -> None:  # noqa: ARG002  those of every source
        self.description: dict[str, Any] = {"kind": "sample"}
        package = find_spec("skimage")
        if package is None or package.origin is None:
            raise SourceError("source=sample needs scikit-image: pip install 'sam2-embed[sample]'")
        self._folder = Folder(Path(package.origin).parent / "data")

    def refs(self) -> Iterator[pa.RecordBatch]:
        """All photographs; without versions, since the package's files get new dates with every installation."""
        sizes_bytes = {entry.name: entry.size_bytes for entry in self._folder.files()}
        missing = [name for name in PHOTOGRAPHS if name not in sizes_bytes]
        if missing:
            raise SourceError(f"scikit-image came without {missing[0]}: reinstall it, or use source=directory")
        yield refs_batch([(name, self._folder.uri_of(name), sizes_bytes[name], "") for name in PHOTOGRAPHS])

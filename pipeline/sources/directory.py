"""A folder or prefix of image files at any depth; the id of an image is its path below the folder."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pyarrow as pa

from pipeline.errors import SourceError
from pipeline.sources.files import lowered, source_errors
from pipeline.sources.image_ref import REFS, REFS_AT_ONCE, refs_batch
from pipeline.storage.folder import Folder
from pipeline.storage.trouble import PATIENCE_S

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"),
    *(".avif", ".heic", ".heif"),
)


class DirectorySource:
    """The image files below a local folder or a prefix of a bucket.

    Args:
        uri: the folder.
        suffixes: which file names count as images, with the dot, in any case; None takes every file.
        patience_s: how long an object store may be in trouble, in seconds.

    Raises:
        SourceError: no such folder.
    """

    schema = REFS

    def __init__(
        self, uri: str, suffixes: tuple[str, ...] | None = IMAGE_SUFFIXES, patience_s: float = PATIENCE_S
    ) -> None:
        self._folder = Folder(uri, patience_s)
        self._suffixes = lowered(suffixes)
        self.num_ignored = 0
        chosen = list(self._suffixes) if self._suffixes is not None else None
        self.description: dict[str, Any] = {"kind": "directory", "uri": self._folder.uri, "suffixes": chosen}
        with source_errors(self._folder.uri):
            is_there = self._folder.is_folder()
        if not is_there:
            raise SourceError(f"source.uri={uri}: there is no folder {self._folder.uri}")

    def refs(self) -> Iterator[pa.RecordBatch]:
        """All image files, in the order of their paths.

        Raises:
            SourceError, StoreUnavailableError, AccessDeniedError: they cannot be listed.
        """
        self.num_ignored = 0
        with source_errors(self._folder.uri):
            entries = self._folder.files()
            while found := list(islice(entries, REFS_AT_ONCE)):
                chosen = [entry for entry in found if self._is_image(entry.name)]
                self.num_ignored += len(found) - len(chosen)
                yield refs_batch(
                    [(entry.name, self._folder.uri_of(entry.name), entry.size_bytes, entry.version) for entry in chosen]
                )

    def _is_image(self, name: str) -> bool:
        return self._suffixes is None or name.lower().endswith(self._suffixes)

"""A folder or prefix of image files at any depth; the id of an image is its path below the folder."""

from collections.abc import Iterator
from typing import Any

from pipeline.errors import AccessDeniedError, SourceError
from pipeline.sources.image_ref import ImageRef
from pipeline.storage import Folder

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif")


class DirectorySource:
    """The image files below a local folder or any URI that fsspec knows.

    Args:
        uri: the folder.
        suffixes: which file names count as images, with the dot, in any case; None takes every file.

    Raises:
        SourceError: no such folder.
    """

    def __init__(self, uri: str, suffixes: tuple[str, ...] | None = IMAGE_SUFFIXES) -> None:
        self._folder = Folder(uri)
        self._suffixes = tuple(suffix.lower() for suffix in suffixes) if suffixes is not None else None
        self.num_ignored = 0
        chosen = list(self._suffixes) if self._suffixes is not None else None
        self.description: dict[str, Any] = {"kind": "directory", "uri": self._folder.uri, "suffixes": chosen}
        if not self._is_there():
            raise SourceError(f"source.uri={uri}: there is no folder {self._folder.uri}")

    def refs(self) -> Iterator[ImageRef]:
        """All image files, in the order of their paths."""
        self.num_ignored = 0
        try:
            for entry in self._folder.files():
                if self._suffixes is not None and not entry.name.lower().endswith(self._suffixes):
                    self.num_ignored += 1
                    continue
                yield ImageRef(entry.name, self._folder.uri_of(entry.name), entry.size_bytes, entry.version)
        except PermissionError as error:
            raise AccessDeniedError(f"no permission to list {error.filename or self._folder.uri}: {error}") from error
        except OSError as error:
            raise SourceError(f"{self._folder.uri} cannot be listed: {error}") from error

    def _is_there(self) -> bool:
        try:
            return self._folder.is_folder()
        except PermissionError as error:
            raise AccessDeniedError(f"no permission to read {self._folder.uri}: {error}") from error
        except OSError as error:
            raise SourceError(f"{self._folder.uri} cannot be reached: {error}") from error

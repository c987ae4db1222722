"""A folder or prefix of image files at any depth; the id of an image is its path below the folder."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pyarrow as pa

from pipeline.errors import AccessDeniedError, SourceError, StoreUnavailableError
from pipeline.sources.image_ref import REFS, REFS_AT_ONCE, refs_batch
from pipeline.storage.folder import Folder
from pipeline.storage.trouble import PATIENCE_S

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif")


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
        self._suffixes = tuple(suffix.lower() for suffix in suffixes) if suffixes is not None else None
        self.num_ignored = 0
        chosen = list(self._suffixes) if self._suffixes is not None else None
        self.description: dict[str, Any] = {"kind": "directory", "uri": self._folder.uri, "suffixes": chosen}
        if not self._is_there():
            raise SourceError(f"source.uri={uri}: there is no folder {self._folder.uri}")

    def refs(self) -> Iterator[pa.RecordBatch]:
        """All image files, in the order of their paths."""
        self.num_ignored = 0
        try:
            entries = self._folder.files()
            while found := list(islice(entries, REFS_AT_ONCE)):
                chosen = [entry for entry in found if self._is_image(entry.name)]
                self.num_ignored += len(found) - len(chosen)
                yield refs_batch(
                    [(entry.name, self._folder.uri_of(entry.name), entry.size_bytes, entry.version) for entry in chosen]
                )
        except StoreUnavailableError:
            raise
        except PermissionError as error:
            raise AccessDeniedError(f"no permission to list {error.filename or self._folder.uri}: {error}") from error
        except OSError as error:
            raise SourceError(f"{self._folder.uri} cannot be listed: {error}") from error

    def _is_image(self, name: str) -> bool:
        return self._suffixes is None or name.lower().endswith(self._suffixes)

    def _is_there(self) -> bool:
        try:
            return self._folder.is_folder()
        except StoreUnavailableError:
            raise
        except PermissionError as error:
            raise AccessDeniedError(f"no permission to read {self._folder.uri}: {error}") from error
        except OSError as error:
            raise SourceError(f"{self._folder.uri} cannot be reached: {error}") from error

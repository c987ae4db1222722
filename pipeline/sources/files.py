"""The files that a source of many images to a file reads: the one that its URI names, or all below a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from pipeline.errors import AccessDeniedError, SourceError, StoreUnavailableError
from pipeline.storage.folder import Folder
from pipeline.storage.trouble import TROUBLE_OF_DISKS

Deed = Literal["list", "read"]
_DONE: dict[Deed, str] = {"list": "listed", "read": "read"}


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file as it was listed; its name is its path below the source's URI."""

    name: str
    uri: str
    size_bytes: int
    version: str


class SourceFiles:
    """Files of certain suffixes at or below a URI.

    Args:
        uri: a file or a folder.
        suffixes: with the dot, in any case; None for every file.
        patience_s: how long an object store may be in trouble, in seconds.

    Attributes:
        uri: in full.
        suffixes: in lower case.
        num_others: files of other suffixes that the last listing passed over.

    Raises:
        SourceError: there is neither.
        StoreUnavailableError, AccessDeniedError: it cannot be looked at.
    """

    def __init__(self, uri: str, suffixes: tuple[str, ...] | None, patience_s: float) -> None:
        self._folder, self.suffixes, self.num_others = Folder(uri, patience_s), lowered(suffixes), 0
        self.uri = self._folder.uri
        with source_errors(self.uri):
            self._only = self._file(patience_s)
            if self._only is None and not self._folder.is_folder():
                raise SourceError(f"source.uri={uri}: there is no file or folder {self.uri}")

    def __iter__(self) -> Iterator[SourceFile]:
        """All of them, in the order of their paths.

        Raises:
            SourceError, StoreUnavailableError, AccessDeniedError: they cannot be listed.
        """
        self.num_others = 0
        if self._only is not None:
            yield self._only
            return
        with source_errors(self.uri):
            for entry in self._folder.files():
                if self._is_one(entry.name):
                    yield SourceFile(entry.name, self._folder.uri_of(entry.name), entry.size_bytes, entry.version)
                else:
                    self.num_others += 1

    def _is_one(self, name: str) -> bool:
        return self.suffixes is None or name.lower().endswith(self.suffixes)

    def _file(self, patience_s: float) -> SourceFile | None:
        """The file at the URI itself, if there is one; a folder may have the name of a file."""
        place, _, name = self.uri.rpartition("/")
        if not self._is_one(name) or place.endswith(":/"):
            return None
        try:
            entry = Folder(place or "/", patience_s).file(name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return SourceFile(name, self.uri, entry.size_bytes, entry.version)


def lowered(suffixes: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Suffixes as names in small letters are compared with them; None stays None, for all."""
    return None if suffixes is None else tuple(suffix.lower() for suffix in suffixes)


@contextmanager
def source_errors(uri: str, deed: Deed = "list") -> Iterator[None]:
    """Errors of listing or reading what makes up a source leave the block as ours.

    Raises:
        StoreUnavailableError, AccessDeniedError: as `place_errors` has them.
        SourceError: it cannot be done.
    """
    try:
        with place_errors(uri, deed):
            yield
    except StoreUnavailableError:
        raise
    except OSError as error:
        raise SourceError(f"{uri} cannot be {_DONE[deed]}: {error.strerror or error}") from error


@contextmanager
def place_errors(uri: str, deed: Deed) -> Iterator[None]:
    """Errors that no file is to blame for leave the block as ours, all others as they are.

    Raises:
        StoreUnavailableError: the store, the disk or this machine is in trouble.
        AccessDeniedError: no permission.
    """
    try:
        yield
    except StoreUnavailableError:
        raise
    except PermissionError as error:
        raise AccessDeniedError(
            f"no permission to {deed} {error.filename or uri}: {error.strerror or error}"
        ) from error
    except OSError as error:
        if error.errno not in TROUBLE_OF_DISKS:
            raise
        said = f"{uri} cannot be {_DONE[deed]}: {error.strerror}, which is trouble of the disk or of this machine"
        raise StoreUnavailableError(f"{said}; mend that and run the same command again") from error

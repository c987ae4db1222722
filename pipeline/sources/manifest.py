"""A list of images: Parquet or CSV files with a column `uri`, which somebody else may have written.

They are read by a process of their own (`list_process`), row by row, so that there may be any number of rows.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pyarrow as pa

from pipeline.errors import AccessDeniedError, InputListError, SourceError, StoreUnavailableError
from pipeline.sources.list_answers import ListSchema
from pipeline.sources.list_columns import refs_schema
from pipeline.sources.list_formats import SUFFIXES, suffix_of
from pipeline.sources.list_process import ListFile, ListProcess
from pipeline.storage.folder import Folder
from pipeline.storage.trouble import PATIENCE_S

# Of one image at 1024 px, as the README has them.
_FEATURE_BYTES = {"fpn": 44e6, "pooled": 1e3}
_ENDINGS = f"lists end in {', '.join(SUFFIXES)}"


class ManifestSource:
    """The images that a list names, in its order; the lists of a folder in the order of their paths.

    A relative name in a list starts at the list's folder. Further columns come along: text, numbers and truth values
    as they are, dates, times and decimals as text; of a CSV everything is text.

    Args:
        uri: of a list, or of a folder of lists.
        columns: which further columns to take; None for all.
        roots: below which images may be; None for the folder of the list.
        http_networks: private networks whose web servers may be asked.
        max_images: how many rows are taken for meant.
        patience_s: how long an object store may be in trouble, in seconds.

    Raises:
        SourceError: there is no list.
        InputListError: it cannot be taken.
    """

    def __init__(
        self,
        uri: str,
        columns: tuple[str, ...] | None = None,
        *,
        roots: tuple[str, ...] | None = None,
        http_networks: tuple[str, ...] = (),
        max_images: int = 200_000_000,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._columns, self._max_images, self.num_ignored = columns, max_images, 0
        with _naming(uri):
            self._folder, self._name = _place(uri, patience_s)
            first = next(self._files(), None)
        if first is None:
            raise SourceError(f"source.uri={uri}: there is no list in {self._folder.uri}; {_ENDINGS}")
        self.roots = (self._folder.uri,) if roots is None else roots
        self.http_networks = http_networks
        self.description: dict[str, Any] = {
            "kind": "manifest",
            "uri": self._folder.uri if self._name is None else self._folder.uri_of(self._name),
            "columns": None if columns is None else list(columns),
            "roots": list(self.roots),
            "http_networks": list(http_networks),
        }
        with closing(self._process()) as process, _naming(first.uri):
            self._schema = process.schema(first)
        self._require_meant(self._schema.num_rows or 0, first)
        self.schema: pa.Schema = refs_schema(self._schema.columns)

    def refs(self) -> Iterator[pa.RecordBatch]:
        """All images, in the order of the rows.

        Raises:
            InputListError: a list or a row of it cannot be taken, or there are too many; names file and row.
            SourceError, AccessDeniedError, StoreUnavailableError: a list cannot be read.
        """
        num_rows, self.num_ignored = 0, 0
        with closing(self._process()) as process, _naming(self._folder.uri):
            for file in self._files():
                found = process.schema(file)
                self._require_same_columns(found, file)
                self._require_meant(num_rows + (found.num_rows or 0), file)
                for batch in process.batches(file, found, self._max_images - num_rows):
                    num_rows += batch.num_rows
                    self._require_meant(num_rows, file)
                    yield batch

    def _process(self) -> ListProcess:
        return ListProcess(self._columns, self._folder.uri)

    def _files(self) -> Iterator[ListFile]:
        """The lists; counts the files that are none."""
        if self._name is not None:
            yield self._file(self._name, self._folder.size_bytes(self._name))
            return
        for entry in self._folder.files():
            if suffix_of(entry.name) is None:
                self.num_ignored += 1
            else:
                yield self._file(entry.name, entry.size_bytes)

    def _file(self, name: str, size_bytes: int) -> ListFile:
        suffix = suffix_of(name)
        assert suffix is not None, "it was looked at"

        def read(start: int, end: int) -> bytes:
            return self._folder.read_range(name, start, end)

        return ListFile(self._folder.uri_of(name), suffix, size_bytes, read)

    def _require_same_columns(self, found: ListSchema, file: ListFile) -> None:
        if found.columns != self._schema.columns:
            wanted, given = (
                ", ".join(f"{name} {kind}" for name, kind in each.columns.items()) for each in (self._schema, found)
            )
            raise InputListError(
                f"{file.uri} has other columns ({given}) than the first list ({wanted}); "
                "make them the same, or choose with source.columns"
            )

    def _require_meant(self, num_rows: int, file: ListFile) -> None:
        if num_rows > self._max_images:
            sizes = " or ".join(
                f"{num_rows * size_bytes / 1e9:,.0f} GB with features={kind}"
                for kind, size_bytes in _FEATURE_BYTES.items()
            )
            raise InputListError(
                f"{num_rows:,} rows or more up to {file.uri}, and source.max_images={self._max_images} are allowed; "
                f"at 1024 px their features would take {sizes}. If that is meant, raise source.max_images"
            )


def _place(uri: str, patience_s: float) -> tuple[Folder, str | None]:
    """The folder of the lists, and the name of the one that is meant; None for all of them.

    Raises:
        SourceError: there is neither a list nor a folder.
    """
    folder = Folder(uri, patience_s)
    if folder.is_folder():
        return folder, None
    if suffix_of(uri) is None:
        raise SourceError(f"source.uri={uri}: there is no such folder, and a list's name is another: {_ENDINGS}")
    parent, slash, name = uri.rpartition("/")
    return Folder(parent or slash or ".", patience_s), name


@contextmanager
def _naming(uri: str) -> Iterator[None]:
    """Errors of reading leave the block as ours."""
    try:
        yield
    except StoreUnavailableError:
        raise
    except FileNotFoundError as error:
        raise SourceError(f"source.uri: there is no list {error.filename or uri}") from error
    except PermissionError as error:
        raise AccessDeniedError(f"no permission to read {error.filename or uri}: {error.strerror or error}") from error
    except OSError as error:
        raise SourceError(f"{error.filename or uri} cannot be read: {error.strerror or error}") from error

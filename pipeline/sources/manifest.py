"""A list of images: Parquet or CSV files with a column `uri`, which somebody else may have written.

They are read by a process of their own (`list_process`), row by row, so that there may be any number of rows.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pyarrow as pa

from pipeline.errors import InputListError, SourceError
from pipeline.sources.files import SourceFile, SourceFiles, source_errors
from pipeline.sources.list_answers import ListSchema
from pipeline.sources.list_columns import refs_schema
from pipeline.sources.list_formats import SUFFIXES, suffix_of
from pipeline.sources.list_process import ListFile, ListProcess
from pipeline.storage.reading import FileChangedError, read_uri
from pipeline.storage.roots import Roots
from pipeline.storage.trouble import PATIENCE_S, patiently
from pipeline.storage.uri import shown

# Of one image at 1024 px, as the README has them.
_FEATURE_BYTES = {"fpn": 44e6, "pooled": 1e3}
_ENDINGS = ", ".join(SUFFIXES)


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

    Attributes:
        roots: what may be read of what the list names.
        num_ignored: files of the folder that are no lists.

    Raises:
        SourceError: there is no list.
        InputListError: it cannot be taken.
        ConfigError: a root is none.
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
        self._columns, self._max_images, self._patience_s, self.num_ignored = columns, max_images, patience_s, 0
        self._files = SourceFiles(uri, tuple(SUFFIXES), patience_s)
        first = next(iter(self._files), None)
        if first is None:
            raise SourceError(f"source.uri={uri}: there is no list in {self._files.uri}, whose name ends in {_ENDINGS}")
        is_alone = first.uri == self._files.uri
        self._base = (first.uri.rpartition("/")[0] or "/") if is_alone else self._files.uri
        self.roots = Roots((self._base,) if roots is None else roots, http_networks)
        self.description: dict[str, Any] = {
            "kind": "manifest",
            "uri": self._files.uri,
            "columns": None if columns is None else list(columns),
            "roots": list(self.roots.allowed),
            "http_networks": list(http_networks),
        }
        with closing(self._process()) as process, _naming(first.uri):
            self._schema = process.schema(self._list_file(first))
        self._require_meant(self._schema.num_rows or 0, first)
        self.schema: pa.Schema = refs_schema(self._schema.columns)

    def refs(self) -> Iterator[pa.RecordBatch]:
        """All images, in the order of the rows.

        Raises:
            InputListError: a list or a row of it cannot be taken, or there are too many; names file and row.
            SourceError, AccessDeniedError, StoreUnavailableError: a list cannot be read.
        """
        num_rows = 0
        with closing(self._process()) as process:
            for file in self._files:
                with _naming(file.uri):
                    listed = self._list_file(file)
                    found = process.schema(listed)
                    self._require_same_columns(found, file)
                    self._require_meant(num_rows + (found.num_rows or 0), file)
                    for batch in process.batches(listed, found, self._max_images - num_rows):
                        num_rows += batch.num_rows
                        self._require_meant(num_rows, file)
                        yield batch
        self.num_ignored = self._files.num_others

    def _process(self) -> ListProcess:
        return ListProcess(self._columns, self._base)

    def _list_file(self, file: SourceFile) -> ListFile:
        suffix = suffix_of(file.name)
        assert suffix is not None, "it was listed for it"

        def read(start: int, end: int) -> bytes:
            return patiently(
                lambda: read_uri(file.uri, file.version, start=start, end=end), shown(file.uri), self._patience_s
            )

        return ListFile(file.uri, suffix, file.size_bytes, read)

    def _require_same_columns(self, found: ListSchema, file: SourceFile) -> None:
        if found.columns != self._schema.columns:
            wanted, given = (
                ", ".join(f"{name} {kind}" for name, kind in each.columns.items()) for each in (self._schema, found)
            )
            raise InputListError(
                f"{file.uri} has other columns ({given}) than the first list ({wanted}); "
                "make them the same, or choose with source.columns"
            )

    def _require_meant(self, num_rows: int, file: SourceFile) -> None:
        if num_rows > self._max_images:
            sizes = " or ".join(
                f"{num_rows * size_bytes / 1e9:,.0f} GB with features={kind}"
                for kind, size_bytes in _FEATURE_BYTES.items()
            )
            raise InputListError(
                f"{num_rows:,} rows or more up to {file.uri}, and source.max_images={self._max_images} are allowed; "
                f"at 1024 px their features would take {sizes}. If that is meant, raise source.max_images"
            )


@contextmanager
def _naming(uri: str) -> Iterator[None]:
    """Errors of reading a list leave the block as ours."""
    with source_errors(uri, "read"):
        try:
            yield
        except FileChangedError as error:
            raise InputListError(
                f"{uri} has changed while it was read ({error}); run the same command again"
            ) from error

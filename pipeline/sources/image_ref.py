"""References to images, many to an Arrow batch, and what every source promises."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

# An image's id in the feature set, where its bytes are, how many (0 if nobody said), and what changes when they do (""
# if nothing does). A source may have further columns: `part` (of `featureset.part`), and whatever the index is to hold.
REFS = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
    ]
)
REFS_AT_ONCE = 65_536
# Answers a question about the file of a ref, see `preprocessing.decoder_requests.probe`; ImageError if it cannot.
Ask = Callable[[Mapping[str, Any], str], Any]
# What a version begins with that somebody wrote down: it tells whether an image is another one, and its store has none
# like it to compare it with.
_WRITTEN = "written:"


class Source(Protocol):
    """Yields the refs of all images, the same ones in the same order as long as the input is the same."""

    @property
    def description(self) -> dict[str, Any]:
        """What makes two sources the same one: kind, URI and filters, plain values."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """Columns of its refs: those of `REFS`, then its own, which the plan and the index carry along."""
        ...

    @property
    def num_ignored(self) -> int:
        """Files the last listing passed over because of their names."""
        ...

    def refs(self) -> Iterator[pa.RecordBatch]:
        """All images, in order, as batches of `schema`; never all of them at once.

        Raises:
            SourceError: the source is not there.
            AccessDeniedError: it may not be listed.
        """
        ...


def written_versions(versions: pa.Array) -> pa.Array:
    """Versions as a list has them, as those of refs."""
    return pc.if_else(pc.equal(versions, ""), versions, pc.binary_join_element_wise(_WRITTEN, versions, ""))


def store_version(version: str) -> str:
    """What the store of a ref's image is to say of its version; empty if that is not known."""
    return "" if version.startswith(_WRITTEN) else version


def refs_batch(rows: Sequence[tuple[str, str, int, str]]) -> pa.RecordBatch:
    """A batch of `REFS` from its rows."""
    columns = zip(*rows, strict=True) if rows else [[] for _ in REFS]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, REFS, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=REFS)

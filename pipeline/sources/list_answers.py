"""What the process that reads lists says, looked at as if somebody else had taken it over."""

import json
from dataclasses import dataclass

import pyarrow as pa

from pipeline.featureset.columns import KINDS, require_names
from pipeline.sources.image_ref import REFS
from pipeline.sources.list_columns import MAX_BATCH_BYTES, MAX_COLUMNS, MAX_ROWS_AT_ONCE, refs_schema


@dataclass(frozen=True)
class ListSchema:
    """What a file of a list says of itself: the columns that are taken, by kind, and how many rows; None if unsaid."""

    columns: dict[str, str]
    num_rows: int | None

    @classmethod
    def of(cls, body: bytes) -> "ListSchema":
        """The schema in a message.

        Raises:
            ValueError, TypeError, InputListError: it is none.
        """
        match json.loads(body):
            case {"columns": [*pairs], "num_rows": int() | None as num_rows}:
                columns = dict(pairs)
            case _:
                raise ValueError("no columns")
        if not all(isinstance(name, str) and kind in list(KINDS) for name, kind in columns.items()):
            raise ValueError("columns of other kinds")
        if num_rows is not None and num_rows < 0:
            raise ValueError("a negative number of rows")
        own = [name for name in columns if name not in REFS.names]
        if len(own) > MAX_COLUMNS:
            raise ValueError("too many columns")
        require_names(own)
        return cls(columns, num_rows)


def batch_of(body: bytes, schema: ListSchema) -> pa.RecordBatch:
    """The refs in a message, every value of which was looked at.

    Raises:
        ValueError: they are none.
    """
    try:
        batch = pa.ipc.read_record_batch(pa.py_buffer(body), refs_schema(schema.columns))
        batch.validate(full=True)
    except (pa.ArrowException, EOFError, OSError) as error:
        raise ValueError(f"no batch of refs ({error})") from None
    if any(batch[name].null_count for name in REFS.names):
        raise ValueError("refs that lack something")
    if batch.num_rows > MAX_ROWS_AT_ONCE or batch.nbytes > MAX_BATCH_BYTES:
        raise ValueError("too much at once")
    return batch


def range_of(body: bytes, size_bytes: int, at_once_bytes: int) -> tuple[int, int]:
    """The range of a file of that size that a message asks for.

    Raises:
        ValueError: there is no such range, or it is longer than may be asked for at once.
    """
    match json.loads(body):
        case [int() as start, int() as end] if 0 <= start < end <= min(size_bytes, start + at_once_bytes):
            return start, end
    raise ValueError("a range that is not there")

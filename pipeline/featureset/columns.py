"""A source's own columns, which the index carries along: what kinds there are, and which names are free.

Everything else a file could hold is left out or refused: what comes along are text, numbers and truth values.
"""

import re
from collections.abc import Collection, Iterable

import pyarrow as pa

from pipeline.errors import InputListError
from pipeline.featureset.schema import INDEX, PART, PLAN, TILES

# What own columns come as, whatever kind of text, number or time they are where they come from.
KINDS = {"text": pa.string(), "integer": pa.int64(), "float": pa.float64(), "boolean": pa.bool_()}
# Names that refs, indexes and plans have themselves; DuckDB, which compares lists, takes capitals for small letters.
RESERVED = frozenset(
    {*INDEX.names, *PLAN.names, *TILES.names, PART.name, "place", "image_id", "uri", "size_bytes", "version"}
)
_NAME = re.compile(r"\w[\w -]{0,99}")


def kind_of(field: pa.Field) -> str | None:
    """Which of `KINDS` a column comes as; None for what is not carried: lists, bytes, durations, extension types."""
    kind = field.type
    if b"ARROW:extension:name" in (field.metadata or {}):
        return None
    if pa.types.is_dictionary(kind):
        return kind_of(pa.field(field.name, kind.value_type))
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    is_time = pa.types.is_date(kind) or pa.types.is_time(kind) or pa.types.is_timestamp(kind)
    if is_text or is_time or pa.types.is_decimal(kind) or pa.types.is_null(kind):
        return "text"
    if pa.types.is_integer(kind):
        return "integer"
    if pa.types.is_floating(kind):
        return "float"
    return "boolean" if pa.types.is_boolean(kind) else None


def refusal_of(name: str, taken: Collection[str]) -> str | None:
    """Why a column cannot be called that; None if it can.

    Args:
        name: of the column.
        taken: names of others, in small letters.
    """
    if _NAME.fullmatch(name) is None:
        return "is no word of letters, digits, _ and -"
    if name.lower() in RESERVED:
        return "has a name that feature sets use"
    return "differs from another in capitals alone" if name.lower() in taken else None


def require_names(own: Iterable[str]) -> None:
    """Refuses columns that would be taken for others.

    Raises:
        InputListError: a name is one of the index or the plan, is twice there but for capitals, or is no word.
    """
    taken: set[str] = set()
    for name in own:
        refusal = refusal_of(name, taken)
        if refusal is not None:
            raise InputListError(f"column {shown_name(name)} {refusal}; {leave_out(name)}")
        taken.add(name.lower())


def leave_out(name: str) -> str:
    """How to do without a column."""
    return f"rename it, or leave {shown_name(name)} out with source.columns, which names the columns to take ([]: none)"


def shown_name(name: str) -> str:
    """The name of a column for people, in quotes, however long it is and whatever is in it."""
    return ascii(name if len(name) <= 60 else f"{name[:60]}...")

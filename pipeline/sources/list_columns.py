"""What a list of images may hold, and a batch of its rows as refs; runs in the process that reads the list.

Everything else a list could hold is refused by column or by row: what comes out are text, numbers and truth values.
"""

from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import InputListError
from pipeline.featureset.columns import KINDS, kind_of, leave_out, require_names, shown_name
from pipeline.sources.image_ref import REFS, written_versions
from pipeline.storage.uri import redacted, resolved

URI, IMAGE_ID, SIZE_BYTES, VERSION = "uri", "image_id", "size_bytes", "version"
_OF_REFS = (URI, IMAGE_ID, SIZE_BYTES, VERSION)
MAX_COLUMNS = 256
# A list says where images are and what they are called; with 2 kB a row it fits whoever holds a hundred thousand rows.
MAX_TEXT_BYTES = 2**16
MAX_ROWS_AT_ONCE = 2**14
MAX_BATCH_BYTES = 2**25

# What may have a user, a password or a token in it, or only a port or an Azure account: `storage.uri` tells them apart.
_MAY_HAVE_USER = "://[^/]*[@:]"
# Any parameter of a web page may sign it, so that no query is to be read in ids of images.
_HAS_QUERY = r"(?i)^https?://[^?]*\?"
_IS_ABSOLUTE = "^(/|[A-Za-z][A-Za-z0-9+._-]*:)"


def chosen_columns(given: pa.Schema, columns: Sequence[str] | None) -> dict[str, str]:
    """The columns of a list to read, each with its kind: those of refs that it has, then its own.

    Args:
        given: the list's schema.
        columns: which of its own columns to take; None for all.

    Raises:
        InputListError: there is no `uri`, or one of them cannot be taken; says how to leave it out.
    """
    names = list(given.names)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputListError(f"has two columns {shown_name(twice[0])}")
    if URI not in names:
        raise InputListError(f"has no column 'uri', only {_some(names)}; call the column with paths or URIs uri")
    missing = [name for name in columns or () if name not in names]
    if missing:
        raise InputListError(
            f"has no column {shown_name(missing[0])}, which source.columns asks for, only {_some(names)}"
        )
    own = [name for name in (names if columns is None else columns) if name not in _OF_REFS]
    if len(own) > MAX_COLUMNS:
        raise InputListError(f"has {len(own)} columns of its own, {MAX_COLUMNS} are allowed; {leave_out(own[0])}")
    chosen = {name: _kind_of_ref(given.field(name)) for name in _OF_REFS if name in names}
    require_names(own)
    for name in own:
        kind = kind_of(given.field(name))
        if kind is None:
            what = str(given.field(name).type)[:60]
            raise InputListError(
                f"column {shown_name(name)} is of a kind that is not carried ({what}); {leave_out(name)}"
            )
        chosen[name] = kind
    return chosen


def refs_schema(chosen: dict[str, str]) -> pa.Schema:
    """What batches of refs of such a list look like."""
    own = [pa.field(name, KINDS[kind]) for name, kind in chosen.items() if name not in _OF_REFS]
    return pa.schema([*REFS, *own])


def refs_of(rows: pa.RecordBatch, chosen: dict[str, str], *, base: str, first: int) -> pa.RecordBatch:
    """Rows of a list as refs.

    Args:
        rows: its chosen columns.
        chosen: from `chosen_columns`.
        base: folder of relative names.
        first: number of the first row.

    Raises:
        InputListError: names the first row that is wrong.
    """
    found = {name: _column(rows.column(name), name, kind, first=first) for name, kind in chosen.items()}
    for name in (URI, IMAGE_ID):
        if name in found:
            _require(pc.invert(pc.equal(pc.fill_null(found[name], ""), "")), first, f"has no {name}")
    if SIZE_BYTES in found:
        found[SIZE_BYTES] = pc.fill_null(found[SIZE_BYTES], 0)
        _require(pc.greater_equal(found[SIZE_BYTES], 0), first, "has a negative size_bytes")
    columns = {
        IMAGE_ID: found[IMAGE_ID] if IMAGE_ID in found else _ids(found[URI], first),
        URI: _uris(found[URI], base),
        SIZE_BYTES: found.get(SIZE_BYTES, pa.repeat(pa.scalar(0, pa.int64()), rows.num_rows)),
        VERSION: written_versions(pc.fill_null(found[VERSION], ""))
        if VERSION in found
        else pa.repeat("", rows.num_rows),
    }
    schema = refs_schema(chosen)
    batch = pa.RecordBatch.from_arrays([columns.get(name, found.get(name)) for name in schema.names], schema=schema)
    if batch.nbytes > MAX_BATCH_BYTES:
        largest = max(found, key=lambda name: found[name].nbytes)
        raise InputListError(f"has more than 2 kB a row from row {first} on, most in column {largest!r}; leave it out")
    return batch


def _uris(written: pa.Array, base: str) -> pa.Array:
    """Where the images are: `storage.uri.resolved` of each, at the speed of Arrow where that is not in question."""
    relative = pc.invert(pc.match_substring_regex(written, _IS_ABSOLUTE))
    below = pc.binary_join_element_wise(base.rstrip("/"), written, "/")
    return _replaced(pc.if_else(relative, below, written), written, lambda uri: resolved(uri, base))


def _ids(written: pa.Array, first: int) -> pa.Array:
    """Ids of images whose list has none: their URIs, without what is secret in them."""
    has_none = "is a web page with a query, which may be secret and so is no id; add a column image_id"
    _require(pc.invert(pc.match_substring_regex(written, _HAS_QUERY)), first, has_none)
    return _replaced(written, written, redacted)


def _replaced(usual: pa.Array, written: pa.Array, judge: Callable[[str], str]) -> pa.Array:
    """What is usual, but what is judged where a URI may have a user or password."""
    is_odd = pc.match_substring_regex(written, _MAY_HAVE_USER)
    judged = [judge(uri) for uri in written.filter(is_odd).to_pylist()]
    return pc.replace_with_mask(usual, is_odd, pa.array(judged, pa.string())) if judged else usual


def _kind_of_ref(field: pa.Field) -> str:
    kind = kind_of(field)
    if field.name == SIZE_BYTES and kind in ("integer", "float", "text"):
        return "integer"
    if kind == "text" or (field.name in (IMAGE_ID, VERSION) and kind == "integer"):
        return "text"
    wanted = "a number" if field.name == SIZE_BYTES else "text"
    raise InputListError(f"column {shown_name(field.name)} is {str(field.type)[:60]}, not {wanted}")


def _column(array: pa.Array, name: str, kind: str, *, first: int) -> pa.Array:
    """The column as its kind; every value of text is UTF-8 and not too long."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_large_string(array.type) or pa.types.is_string_view(array.type) or pa.types.is_string(array.type):
        array = array.cast(pa.large_binary())  # whose bytes are not text until they have been looked at
    if pa.types.is_large_binary(array.type) or pa.types.is_binary(array.type):
        lengths = pc.fill_null(pc.binary_length(array), 0)
        _require(pc.less_equal(lengths, MAX_TEXT_BYTES), first, f"has over {MAX_TEXT_BYTES} bytes in column {name!r}")
        array = _cast(array, pa.string(), first=first, what=f"is no UTF-8 in column {name!r}")
    return _cast(array, KINDS[kind], first=first, what=f"holds no {kind} in column {name!r}")


def _cast(array: pa.Array, kind: pa.DataType, *, first: int, what: str) -> pa.Array:
    if array.type == kind:
        return array
    try:
        return array.cast(kind)
    except pa.ArrowNotImplementedError:
        raise InputListError(f"{what}: {array.type} cannot be made {kind}") from None
    except pa.ArrowInvalid as error:
        row = next((at for at in range(len(array)) if not _can_cast(array.slice(at, 1), kind)), None)
        raise InputListError(f"{what}: {error}" if row is None else f"row {first + row} {what}") from None


def _can_cast(array: pa.Array, kind: pa.DataType) -> bool:
    try:
        array.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


def _require(holds: pa.Array, first: int, what: str) -> None:
    row = pc.index(holds, value=False).as_py()
    if row >= 0:
        raise InputListError(f"row {first + row} {what}")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"{', '.join(map(shown_name, names[:8]))}{more}"

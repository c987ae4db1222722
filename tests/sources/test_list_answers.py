"""What the process that reads lists says is believed only as far as it was looked at."""

import json

import pyarrow as pa
import pytest

from pipeline.errors import InputListError
from pipeline.sources.image_ref import REFS
from pipeline.sources.list_answers import ListSchema, batch_of, range_of

SCHEMA = ListSchema({"uri": "text", "stars": "integer"}, 2)
FIELDS = pa.schema([*REFS, ("stars", pa.int64())])


def batch(**columns: pa.Array) -> pa.RecordBatch:
    given = {"image_id": ["a", "b"], "uri": ["/a", "/b"], "size_bytes": [1, 2], "version": ["", ""], "stars": [1, None]}
    return pa.RecordBatch.from_pydict(given | columns)


def test_a_schema_and_a_batch_come_as_they_were_said():
    told = {"columns": [["uri", "text"], ["stars", "integer"]], "num_rows": 2}
    assert ListSchema.of(json.dumps(told).encode()) == SCHEMA
    assert ListSchema.of(json.dumps(told | {"num_rows": None}).encode()).num_rows is None
    found = batch_of(batch().serialize().to_pybytes(), SCHEMA)
    assert found.to_pylist() == batch().to_pylist()
    assert found.schema.equals(FIELDS)


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"columns": 3, "num_rows": null}',
        b'{"columns": [["uri"]], "num_rows": null}',
        b'{"columns": [["uri", "pickle"]], "num_rows": null}',
        b'{"columns": [["uri", ["text"]]], "num_rows": null}',
        b'{"columns": [[["uri"], "text"]], "num_rows": null}',
        b'{"columns": [["uri", "text"]], "num_rows": -1}',
        b'{"columns": [["uri", "text"]], "num_rows": "many"}',
        b'{"columns": [["shard", "text"]], "num_rows": null}',
        b'{"columns": [["\\u001b[2J", "text"]], "num_rows": null}',
        json.dumps({"columns": [[f"c{number}", "text"] for number in range(300)], "num_rows": None}).encode(),
    ],
)
def test_a_schema_that_is_none_is_refused(told: bytes):
    with pytest.raises((ValueError, TypeError, InputListError)):
        ListSchema.of(told)


def test_a_batch_that_is_none_is_refused():
    whole = batch().serialize().to_pybytes()
    offsets = pa.py_buffer(b"\0\0\0\0\x09\0\0\0\x02\0\0\0")
    outside = pa.StringArray.from_buffers(2, offsets, pa.py_buffer(b"ab"))
    no_text = pa.array([b"\xff", b""]).view(pa.string())
    bad = {
        "empty": b"",
        "cut": whole[:-40],
        "other columns": batch().select(["uri"]).serialize().to_pybytes(),
        "offsets that lead outside": batch(uri=outside).serialize().to_pybytes(),
        "bytes that are no text": batch(image_id=no_text).serialize().to_pybytes(),
        "no uri": batch(uri=pa.array(["a", None])).serialize().to_pybytes(),
        "too many": pa.concat_batches([batch()] * 8193).serialize().to_pybytes(),
    }
    for what, body in bad.items():
        with pytest.raises(ValueError, match=r"no batch|lack|too much") as caught:
            batch_of(body, SCHEMA)
        assert caught.type is ValueError, what


def test_any_flipped_byte_of_a_batch_is_refused_or_gives_sound_values():
    whole = batch().serialize().to_pybytes()
    num_refused = num_taken = 0
    for at in range(len(whole)):
        data = bytearray(whole)
        data[at] ^= 0xFF
        try:
            found = batch_of(bytes(data), SCHEMA)
        except ValueError:
            num_refused += 1
            continue
        found.validate(full=True)
        assert found.schema.equals(FIELDS)
        num_taken += 1
    assert num_refused > 0
    assert num_taken > 0


def test_only_ranges_of_the_file_are_given():
    assert range_of(b"[0, 10]", 10, 10) == (0, 10)
    for asked in (b"[0, 11]", b"[-1, 5]", b"[5, 5]", b"[0, 10, 3]", b'["0", 1]', b"{}", b"[0, 1.5]", b"nothing"):
        with pytest.raises(ValueError, match=r"range|Expecting"):
            range_of(asked, 10, 100)
    with pytest.raises(ValueError, match="range"):
        range_of(b"[0, 10]", 10, 9)

"""Columns of a source's own: what comes along, under which names, whatever kind of source has them."""

import pyarrow as pa
import pytest

from pipeline.errors import InputListError
from pipeline.featureset.columns import KINDS, RESERVED, kind_of, refusal_of, require_names, shown_name
from pipeline.sources.image_ref import REFS


def test_every_kind_has_a_type_of_the_index():
    assert {kind: kind_of(pa.field("own", each)) for kind, each in KINDS.items()} == {kind: kind for kind in KINDS}


def test_an_extension_that_this_process_does_not_know_is_not_carried():
    field = pa.field("own", pa.string(), metadata={"ARROW:extension:name": "somebody.elses"})
    assert kind_of(field) is None
    assert kind_of(field.remove_metadata()) == "text"


@pytest.mark.parametrize("kind", [pa.duration("s"), pa.month_day_nano_interval(), pa.binary(), pa.list_(pa.int8())])
def test_spans_of_time_bytes_and_lists_are_not_carried(kind: pa.DataType):
    assert kind_of(pa.field("own", kind)) is None


def test_names_of_refs_are_taken():
    assert set(REFS.names) < RESERVED


@pytest.mark.parametrize(
    ("name", "said"),
    [("", "no word"), ("x\ny", "no word"), ("a.b", "no word"), ("URI", "feature sets use"), ("Label", "capitals")],
)
def test_a_name_that_is_no_word_or_taken_is_refused(name: str, said: str):
    assert said in str(refusal_of(name, {"label"}))
    with pytest.raises(InputListError, match=rf"{said}.*; rename it, or leave '.*' out with source\.columns"):
        require_names(["label", name])
    require_names(["label", "caption 2", "Étiquette"])


def test_a_name_is_shown_on_one_line_and_not_too_long():
    assert shown_name("a\n\x1b[2J") == r"'a\n\x1b[2J'"
    assert len(shown_name("x" * 10**6)) == 65

"""Names of other keys pass, calls of resolvers are refused wherever they hide, and nothing is resolved to find out."""

import pytest

from pipeline.errors import ConfigError
from pipeline.interpolations import interpolations, refuse_resolvers

CALLS = [
    "${oc.env:HOME}",
    "${oc.create:{a: 1}}",
    "${ oc.deprecated : x }",
    "a${b.${c:d}}e",
    "\\${oc.env:HOME}",
    "${a}${b:c}",
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("put", [lambda x: x, lambda x: [1, [x]], lambda x: {"a": {"b": x}}, lambda x: {"a": {x: 1}}])
def test_a_call_is_refused_at_any_depth_with_its_text_and_place(call, put):
    with pytest.raises(ConfigError) as caught:
        refuse_resolvers(put(call), "model.yaml")
    assert f"{call!r} in model.yaml calls a resolver" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["${a.b}", "${..a}/x", "s3://bucket/${a}", "a: b", "$HOME:1", 3, None, {"${a}": ["${b[0]}"]}]
)
def test_names_of_keys_and_other_values_pass(text):
    refuse_resolvers(text, "model.yaml")


def test_interpolations_are_found_in_keys_and_values():
    assert list(interpolations({"${a}": ["x", "${b}"], "c": {"d": "${e}"}})) == ["${a}", "${b}", "${e}"]

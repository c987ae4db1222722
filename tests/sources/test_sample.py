"""Sample source: a dozen real photographs, the same ones everywhere."""

from typing import Any

from pipeline.preprocessing.decode import decode
from pipeline.sources.opening import open_source
from pipeline.sources.sample import PHOTOGRAPHS, SampleSource
from pipeline.storage.reading import read_uri


def refs() -> list[dict[str, Any]]:
    """All refs, one by one."""
    return [ref for batch in SampleSource().refs() for ref in batch.to_pylist()]


def test_listing_is_repeatable_same_refs_same_order():
    assert [ref["image_id"] for ref in refs()] == list(PHOTOGRAPHS)
    assert refs() == refs()
    assert list(PHOTOGRAPHS) == sorted(set(PHOTOGRAPHS))


def test_every_photograph_is_there_and_decodes():
    for ref in refs():
        data = read_uri(ref["uri"], ref["version"])
        assert len(data) == ref["size_bytes"], ref
        assert min(decode(data).shape[:2]) >= 300, ref


def test_a_new_installation_gives_the_same_versions():
    """Dates change with every installation, and nothing else does."""
    assert {ref["version"] for ref in refs()} == {""}


def test_the_description_holds_on_every_machine():
    assert SampleSource().description == {"kind": "sample"}


def test_open_source_finds_the_sample_by_its_kind():
    source = open_source("sample", uri=None)
    assert isinstance(source, SampleSource)
    assert source.num_ignored == 0

"""Sample source: a dozen real photographs, the same ones everywhere."""

from pipeline.preprocessing.decode import decode
from pipeline.sources.opening import open_source
from pipeline.sources.sample import PHOTOGRAPHS, SampleSource
from pipeline.storage import read_uri


def test_listing_is_repeatable_same_refs_same_order():
    assert [ref.image_id for ref in SampleSource().refs()] == list(PHOTOGRAPHS)
    assert list(SampleSource().refs()) == list(SampleSource().refs())
    assert list(PHOTOGRAPHS) == sorted(set(PHOTOGRAPHS))


def test_every_photograph_is_there_and_decodes():
    for ref in SampleSource().refs():
        data = read_uri(ref.uri)
        assert len(data) == ref.size_bytes, ref
        assert min(decode(data).shape[:2]) >= 300, ref


def test_a_new_installation_gives_the_same_versions():
    """Dates change with every installation, so a version is made of what does not."""
    assert {ref.version for ref in SampleSource().refs()} == {str(ref.size_bytes) for ref in SampleSource().refs()}


def test_the_description_holds_on_every_machine():
    assert SampleSource().description == {"kind": "sample"}


def test_open_source_finds_the_sample_by_its_kind():
    source = open_source("sample", None)
    assert isinstance(source, SampleSource)
    assert source.num_ignored == 0

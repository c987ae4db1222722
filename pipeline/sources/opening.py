"""From the configuration's words to a source."""

from pipeline.sources.directory import IMAGE_SUFFIXES, DirectorySource
from pipeline.sources.image_ref import Source
from pipeline.sources.sample import SampleSource
from pipeline.storage.trouble import PATIENCE_S


def open_source(
    kind: str,
    uri: str | None,
    suffixes: tuple[str, ...] | None = IMAGE_SUFFIXES,
    *,
    patience_s: float = PATIENCE_S,
) -> Source:
    """The source of that kind (`directory` or `sample`).

    Raises:
        SourceError: it is not there.
    """
    if kind == "sample":
        return SampleSource()
    assert uri is not None, "the configuration is checked before"
    return DirectorySource(uri, suffixes, patience_s)

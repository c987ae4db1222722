"""From the configuration's words to a source."""

from collections.abc import Callable
from typing import Any

from pipeline.sources.directory import DirectorySource
from pipeline.sources.image_ref import Source
from pipeline.sources.manifest import ManifestSource
from pipeline.sources.sample import SampleSource
from pipeline.storage.trouble import PATIENCE_S

_KINDS: dict[str, Callable[..., Source]] = {
    "directory": DirectorySource,
    "manifest": ManifestSource,
    "sample": SampleSource,
}


def open_source(kind: str, *, patience_s: float = PATIENCE_S, **options: Any) -> Source:
    """The source of that kind.

    Args:
        kind: as the configuration has it.
        patience_s: how long an object store may be in trouble, in seconds.
        options: the other fields of the kind's configuration, which are its class's arguments.

    Raises:
        SourceError: it is not there.
    """
    return _KINDS[kind](**options, patience_s=patience_s)

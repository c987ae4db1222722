"""From the configuration's words to a source."""

from collections.abc import Callable
from typing import Any

from pipeline.sources.directory import DirectorySource
from pipeline.sources.image_ref import Ask, Source
from pipeline.sources.manifest import ManifestSource
from pipeline.sources.parquet import ParquetSource
from pipeline.sources.sample import SampleSource
from pipeline.sources.tar import TarSource
from pipeline.sources.video import VideoSource
from pipeline.storage.roots import Roots
from pipeline.storage.trouble import PATIENCE_S

_KINDS: dict[str, Callable[..., Source]] = {
    "directory": DirectorySource,
    "manifest": ManifestSource,
    "parquet": ParquetSource,
    "sample": SampleSource,
    "tar": TarSource,
    "video": VideoSource,
}
# Kinds that ask somebody else what their files hold.
ASKING = frozenset({"parquet", "video"})
# How to make ids unique, by the kind of source.
UNIQUE_IDS = {
    "manifest": "mend the list, or give it a column image_id",
    "parquet": "without source.id_column ids are file#row, which are",
    "tar": "source.shard_ids=true puts the shard's path before the member's",
}


def open_source(kind: str, *, patience_s: float = PATIENCE_S, ask: Ask | None = None, **options: Any) -> Source:
    """The source of that kind.

    Args:
        kind: as the configuration has it.
        patience_s: how long an object store may be in trouble, in seconds.
        ask: finds out what files hold that are not parsed here; see `execution.probing`.
        options: the other fields of the kind's configuration, which are its class's arguments.

    Raises:
        SourceError: it is not there.
    """
    if kind in ASKING:
        options["ask"] = ask
    return _KINDS[kind](**options, patience_s=patience_s)


def roots_of(source: Source) -> Roots | None:
    """What may be read of the images that a source names; None if it names only what it found itself."""
    return source.roots if isinstance(source, ManifestSource) else None

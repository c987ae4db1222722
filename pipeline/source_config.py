"""What a command says of its source: one class a kind, whose fields are its constructor's arguments."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class SampleConfig:
    """The shipped photographs."""

    kind: Literal["sample"]
    uri: str | None = None


@dataclass(frozen=True, config=_STRICT)
class DirectoryConfig:
    """A folder or prefix; `suffixes` (lower case, with the dot) selects files, None takes every file."""

    kind: Literal["directory"]
    uri: str | None = None
    suffixes: tuple[str, ...] | None = None


@dataclass(frozen=True, config=_STRICT)
class TarConfig:
    """Tar shards; `suffixes` selects members, `shard_ids` puts the shard's path before the member's in ids."""

    kind: Literal["tar"]
    uri: str | None = None
    suffixes: tuple[str, ...] | None = None
    shard_ids: bool = False


@dataclass(frozen=True, config=_STRICT)
class ParquetConfig:
    """Parquet files with images in a column (None: the one that has bytes).

    `id_column` has their ids (None: file#row), `columns` are the others to carry along (None: all of plain values).
    """

    kind: Literal["parquet"]
    uri: str | None = None
    column: str | None = None
    id_column: str | None = None
    columns: tuple[str, ...] | None = None


@dataclass(frozen=True, config=_STRICT)
class VideoConfig:
    """Every n-th frame of the videos below a folder or prefix, or of one file; `suffixes` as of a directory."""

    kind: Literal["video"]
    uri: str | None = None
    suffixes: tuple[str, ...] | None = None
    every: Annotated[int, Field(gt=0, strict=True)] = 30


@dataclass(frozen=True, config=_STRICT)
class ManifestConfig:
    """A list of images, or a folder of lists; `columns` chooses what else of them is taken, None takes all.

    Images may lie below `roots` (None: below the list's own folder) and on web servers of `http_networks`.
    """

    kind: Literal["manifest"]
    uri: str | None = None
    columns: tuple[str, ...] | None = None
    roots: tuple[str, ...] | None = None
    http_networks: tuple[str, ...] = ()
    max_images: Annotated[int, Field(gt=0, strict=True)] = 200_000_000


SourceConfig = Annotated[
    DirectoryConfig | ManifestConfig | ParquetConfig | SampleConfig | TarConfig | VideoConfig,
    Field(discriminator="kind"),
]

# What is asked for where `source.uri` is missing.
PLACES = {
    "directory": "say which folder or prefix holds the images, for example source.uri=/data/photos",
    "parquet": "say which .parquet file, or folder of them, holds the images, for example source.uri=/data/train",
    "tar": "say which .tar file, or folder of them, holds the images, for example source.uri=s3://bucket/shards",
    "video": "say which file or folder holds the videos, for example source.uri=/data/clips",
    "manifest": "say which Parquet or CSV file lists the images, for example source.uri=/data/list.parquet",
}

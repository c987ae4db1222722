"""Images in tar shards as WebDataset has them, each a range of its shard's bytes; nothing is ever extracted.

The id of an image is its member's path. What a shard that is damaged holds from there on is not known: one ref stands
for all of that, so that the run says so in its quarantine.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import SourceError
from pipeline.featureset.part import Part
from pipeline.featureset.schema import PART
from pipeline.sources.directory import IMAGE_SUFFIXES
from pipeline.sources.files import SourceFile, SourceFiles, lowered
from pipeline.sources.image_ref import REFS, REFS_AT_ONCE
from pipeline.sources.tar_index import PassedOver, TarIndex, index_of
from pipeline.storage.spreading import in_threads
from pipeline.storage.trouble import PATIENCE_S

logger = logging.getLogger("pipeline")

_SCHEMA = REFS.append(PART)
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
_HIDDEN = r"(^|/)\.[^/]"
_SHARDS_AT_ONCE = 8


class TarSource:
    """The images in one tar file, or in all below a folder.

    Args:
        uri: the file or the folder, local or any URI that fsspec knows.
        suffixes: which members count as images, with the dot, in any case; None takes every one.
        shard_ids: put the shard's path before the member's: for shards that have members of the same path.
        patience_s: how long an object store may be in trouble, in seconds.

    Raises:
        SourceError: there are no shards, or compressed ones.
    """

    schema = _SCHEMA

    def __init__(
        self,
        uri: str,
        suffixes: tuple[str, ...] | None = IMAGE_SUFFIXES,
        *,
        shard_ids: bool = False,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._files = SourceFiles(uri, (".tar", *_COMPRESSED), patience_s)
        self._suffixes = lowered(suffixes)
        self._shard_ids, self._patience_s = shard_ids, patience_s
        self.num_ignored = 0
        self.description: dict[str, Any] = {
            "kind": "tar",
            "uri": self._files.uri,
            "suffixes": None if self._suffixes is None else list(self._suffixes),
            "shard_ids": shard_ids,
        }
        if next(self._shards(), None) is None:
            raise SourceError(f"source.uri={uri}: there are no .tar files in {self._files.uri}")

    def refs(self) -> Iterator[pa.RecordBatch]:
        """The images of all shards, shard by shard, in the order of their members."""
        self.num_ignored, passed_over = 0, _PassedOver()
        index = partial(_indexed, patience_s=self._patience_s)
        for shard, found in in_threads(index, self._shards(), _SHARDS_AT_ONCE):
            passed_over.add(shard, found.passed_over)
            images = self._images(found.members)
            first = _first_of_each(images)
            passed_over.add(shard, _doubles(images, first))
            self.num_ignored += found.members.num_rows - images.num_rows
            yield from self._refs(shard, first, found.damage)
        self.num_ignored += self._files.num_others + passed_over.total()
        passed_over.tell()

    def _shards(self) -> Iterator[SourceFile]:
        for shard in self._files:
            if not shard.name.lower().endswith(".tar"):
                raise SourceError(
                    f"{shard.uri} is compressed, so its members have no byte ranges to be read by: decompress it "
                    "(images hardly get smaller by it), or choose a source.uri without it"
                )
            yield shard

    def _images(self, members: pa.Table) -> pa.Table:
        """Those with the names of images, hidden ones left out."""
        names = members["name"]
        chosen = pc.invert(pc.match_substring_regex(names, _HIDDEN))
        if self._suffixes is not None:
            lower, none = pc.utf8_lower(names), pa.scalar(False)
            any_of = none
            for suffix in self._suffixes:
                any_of = pc.or_(any_of, pc.ends_with(lower, suffix))
            chosen = pc.and_(chosen, any_of)
        return members.filter(chosen)

    def _refs(self, shard: SourceFile, images: pa.Table, damage: str | None) -> Iterator[pa.RecordBatch]:
        for batch in images.to_batches(max_chunksize=REFS_AT_ONCE):
            starts, ends = batch["start"], batch["end"]
            ids = pc.binary_join_element_wise(shard.name, batch["name"], "/") if self._shard_ids else batch["name"]
            spans = pc.binary_join_element_wise(pc.cast(starts, pa.string()), pc.cast(ends, pa.string()), "-")
            parts = pc.binary_join_element_wise("bytes=", spans, "")
            yield _batch(shard, ids, parts, sizes_bytes=pc.subtract(ends, starts))
        if damage is not None:
            parts = pa.array([Part(damage=damage).text])
            yield _batch(shard, pa.array([shard.name]), parts, sizes_bytes=pa.array([0]))


def _indexed(shard: SourceFile, patience_s: float) -> tuple[SourceFile, TarIndex]:
    return shard, index_of(shard, patience_s)


def _batch(shard: SourceFile, ids: pa.Array, parts: pa.Array, *, sizes_bytes: pa.Array) -> pa.RecordBatch:
    count = len(ids)
    columns = [ids, pa.repeat(shard.uri, count), sizes_bytes, pa.repeat(shard.version, count), parts]
    return pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)


def _first_of_each(images: pa.Table) -> pa.Table:
    """The images without those whose name another before them has."""
    if len(pc.unique(images["name"])) == images.num_rows:
        return images
    placed = images.append_column("place", pa.array(range(images.num_rows), pa.int64()))
    firsts = placed.group_by("name").aggregate([("place", "min")])["place_min"]
    return images.take(firsts.combine_chunks().sort())


def _doubles(images: pa.Table, first: pa.Table) -> dict[str, PassedOver]:
    num_doubles = images.num_rows - first.num_rows
    if not num_doubles:
        return {}
    counts = pc.value_counts(images["name"])
    example = next(each["values"] for each in counts.to_pylist() if each["counts"] > 1)
    return {"members whose path another before them has": PassedOver(num_doubles, example)}


class _PassedOver:
    """What was passed over in all shards, for one line a kind in the log."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def add(self, shard: SourceFile, found: dict[str, PassedOver]) -> None:
        for kind, each in found.items():
            self._counts[kind] += each.num_members
            self._examples.setdefault(kind, f"{each.first!a} in {shard.name}")

    def total(self) -> int:
        return self._counts.total()

    def tell(self) -> None:
        for kind, count in self._counts.items():
            logger.warning("passed over %d %s, such as %s", count, kind, self._examples[kind])

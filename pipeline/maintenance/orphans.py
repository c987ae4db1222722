"""Which files no reader and no writer can need, judged by records that never change once they are there.

Every verdict rests on a record that names another file in the place of this one, or that ends the run; both are
created if absent, once and for all. No writer can overtake it, however old it is and whatever its clock says: the
commit of a zombie comes second to the one that stands, and whatever it still writes for a run that has ended counts
for nothing. So nothing needs to be looked at again before a file is deleted.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.errors import FeatureSetError
from pipeline.featureset import catalog, paths
from pipeline.featureset.records import Abandonment, Manifest
from pipeline.maintenance.names import FileName, parse_name
from pipeline.maintenance.use import NamesInUse
from pipeline.redaction import shown
from pipeline.storage.entry import FileEntry, UnfinishedUpload
from pipeline.storage.folder import Folder
from pipeline.storage.spreading import in_threads

_NOT_OURS, _WRITER_GONE = "not ours, left alone", "its writer is gone"


@dataclass(frozen=True)
class Judged:
    """A file that is not in use, or that is not ours.

    Attributes:
        name: below the root.
        size_bytes: of the file; None of an upload, of which the store does not say.
        age_s: by the store's own clock.
        reason: in words.
        is_orphan: whether it may go; else it is left alone.
        upload: the upload, if it is one that is not a file yet.
    """

    name: str
    size_bytes: int | None
    age_s: float
    reason: str
    is_orphan: bool
    upload: UnfinishedUpload | None = None

    def __str__(self) -> str:
        size = "unfinished upload" if self.size_bytes is None else f"{self.size_bytes} bytes"
        return f"{shown(self.name)}: {size}, {self.age_s / 3600:.1f} h old; {self.reason}"


class Orphans:
    """Looks through a feature set for what is not in use.

    Args:
        root: the feature set.

    Attributes:
        num_young: files that were too young to be looked at.

    Raises:
        FeatureSetError: there is none, or a record or the shards table of a sealed run is damaged: nothing can be told.
    """

    def __init__(self, root: Folder) -> None:
        self._root = root
        record = catalog.feature_set_record(root)
        if record is None:
            raise FeatureSetError(f"{root.uri} holds no feature set (there is no {paths.FEATURE_SET})")
        with catalog.listing_errors(root):
            runs = {number: catalog.run_record(root, number) for number in catalog.run_numbers(root)}
        self._ends = {number: catalog.run_end(root, number) for number in runs}
        sealed = [end for end in self._ends.values() if isinstance(end, Manifest)]
        self._in_use = NamesInUse.of(root, record, runs=runs.values(), sealed=sealed)
        self.num_young = 0

    def find(self, older_than_s: float) -> Iterator[Judged]:
        """What is older than that and not in use or not ours: files in the order of their names, then uploads.

        Raises:
            StoreUnavailableError, AccessDeniedError: it cannot be told.
        """
        now_s = self._root.now_s()
        with catalog.listing_errors(self._root):
            for entry, reason in in_threads(self._reason, self._old(now_s - older_than_s)):
                if reason is not None:
                    age_s, is_orphan = now_s - entry.modified_s, reason != _NOT_OURS
                    yield Judged(entry.name, entry.size_bytes, age_s, reason, is_orphan)
            for upload in self._root.unfinished_uploads():
                if upload.begun_s < now_s - older_than_s:
                    is_ours = parse_name(upload.name) is not None
                    reason = _WRITER_GONE if is_ours else _NOT_OURS
                    yield Judged(upload.name, None, now_s - upload.begun_s, reason, is_ours, upload)

    def _old(self, before_s: float) -> Iterator[FileEntry]:
        for entry in self._root.files():
            if entry.modified_s < before_s:
                yield entry
            else:
                self.num_young += 1

    def _reason(self, entry: FileEntry) -> tuple[FileEntry, str | None]:
        """The file, and why it may go; None if it may not."""
        name = parse_name(entry.name)
        if name is None:
            return entry, _NOT_OURS
        return entry, None if entry.name in self._in_use else self._reason_of(entry.name, name)

    def _reason_of(self, file: str, name: FileName) -> str | None:
        """Why a file that no record names may go."""
        is_claimed, end = name.run in self._ends, self._ends.get(name.run or 0)
        reason = None
        match name.kind:
            case "positions":
                reason = f"{paths.FEATURE_SET} names another"
            case "staged":  # a writer that is this slow finds its file gone, and writes it again under another name
                reason = _WRITER_GONE
            case "plan" | "removed" if is_claimed:
                reason = f"run {name.run} was claimed with another plan"
            case "index" | "shards" | "quarantine" if end is not None:  # before, somebody may be sealing with it
                reason = f"run {name.run} ended without it"
            case "shard" if isinstance(end, Abandonment):
                reason = f"run {name.run} was abandoned"
            case "shard" if is_claimed:
                reason = self._reason_of_shard(file, name.run or 0, name.unit or 0)
        return reason

    def _reason_of_shard(self, file: str, run: int, unit: int) -> str | None:
        """Why a shard may go whose run is open, or was sealed with others; before its commit it may be in flight."""
        try:
            commit = catalog.commit_record(self._root, run, unit)
        except FeatureSetError:
            return None  # what a damaged commit names cannot be told
        if commit is None:
            return f"run {run} was sealed without it" if self._ends[run] else None
        is_named = commit.shard is not None and commit.shard.name == file
        return None if is_named else f"unit {unit} of run {run} was committed without it"

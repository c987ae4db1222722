"""One run: its tables, its ids, its commits, and its shards as far as the level asks.

A table that is damaged is not read on; what does not need it is still looked at.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from typing import get_args

import duckdb
import pyarrow as pa

from pipeline.config import Level
from pipeline.errors import FeatureSetError
from pipeline.featureset import catalog, paths
from pipeline.featureset.records import CommitRecord, FeatureSetRecord, Manifest, RunRecord, TableFile
from pipeline.featureset.schema import SHARD_FILE
from pipeline.maintenance.commit_check import read_commits
from pipeline.maintenance.expectation import shards_of_commits, shards_of_tables
from pipeline.maintenance.findings import Finding, Kind, RunReport
from pipeline.maintenance.ledger import Ledger
from pipeline.maintenance.names import parse_name
from pipeline.maintenance.reading import table_problem
from pipeline.maintenance.shard_check import ExpectedShard, Problem, check_footer, check_whole
from pipeline.storage.entry import FileEntry
from pipeline.storage.folder import Folder
from pipeline.storage.spreading import NUM_THREADS, in_threads

_LOG = logging.getLogger(__name__)
_SAY_EVERY_S = 30.0

_SIZES, _FOOTERS, _FULL = range(1, 4)
# Of whole shards, what may be in memory at once, in bytes.
_IN_MEMORY = 2 * 2**30


class RunCheck:
    """Looks at one run that was not abandoned.

    Args:
        root: the feature set.
        run: the run.
        record: of the feature set; None if it cannot be read, and then no shard can be judged by its contents.
        level: how far to look.
    """

    def __init__(self, root: Folder, run: RunRecord, *, record: FeatureSetRecord | None, level: Level) -> None:
        self._root, self._run, self._record = root, run, record
        self._level = get_args(Level).index(level)
        self._has_index = True
        self.findings: list[Finding] = []
        if record is not None and run.fingerprint != record.fingerprint:
            self._note("fingerprint", paths.run_record(run.run), "is of other settings than featureset.json")

    @property
    def has_sound_tables(self) -> bool:
        """Whether the run's tables can be relied on; known once it was looked at."""
        return not any(finding.blocks_repair for finding in self.findings)

    def check_sealed(self, manifest: Manifest, scratch: duckdb.DuckDBPyConnection) -> RunReport:
        """Looks at a run that was sealed; fills `findings`, and returns the run in numbers.

        Raises:
            StoreUnavailableError, AccessDeniedError: it cannot be told.
        """
        run, ledger = self._run, Ledger(scratch)
        files = {"plan": run.plan, "index": manifest.index, "shards": manifest.shards}
        files |= {"quarantine": manifest.quarantine} | ({"removed": run.removed} if run.removed else {})
        sound = {kind for kind, file in files.items() if self._is_sound(file)}
        if "shards" in sound and not self._names_shards(manifest.shards):
            sound.remove("shards")
        columns = {"plan": ["unit", "image_id"], "index": ["image_id", "shard"], "quarantine": ["image_id"]}
        columns["shards"] = SHARD_FILE
        for kind in sound - {"removed"}:
            ledger.enter(kind, self._batches(files[kind], columns[kind]))
        ledger.enter_commits(self._commits(range(run.num_units), "commit"))
        self._check_counts(manifest, ledger, sound)
        if sound >= {"plan", "index", "quarantine"}:
            self._check_ids(ledger, manifest.index.name)
        if sound >= {"index", "shards"}:
            self._check_list(ledger, manifest)
        self._has_index = "index" in sound
        with_rows = self._has_index and self._level == _FULL
        expected = shards_of_tables(self._root, manifest, with_rows=with_rows) if "shards" in sound else ()
        self._check_shards(ledger, expected)
        images = (manifest.num_planned, manifest.num_embedded, manifest.num_quarantined)
        return RunReport(run.run, "sealed", *images, manifest.shards.num_rows, manifest.size_bytes)

    def check_open(self, scratch: duckdb.DuckDBPyConnection) -> RunReport:
        """Looks at what a run has committed so far; fills `findings`, and returns the run in numbers.

        Raises:
            StoreUnavailableError, AccessDeniedError: it cannot be told.
        """
        run, ledger = self._run, Ledger(scratch)
        with catalog.listing_errors(self._root):
            committed = catalog.committed_units(self._root, run.run).tolist()
        if self._is_sound(run.plan):
            ledger.enter("plan", self._batches(run.plan, ["unit", "image_id"]))
        ledger.enter_as_tables(self._commits(committed, "open-commit"))
        ledger.forget_all_but(set(committed) - {finding.unit for finding in self.findings})
        if not any(finding.kind == "table" for finding in self.findings):
            self._check_ids(ledger, paths.commits(run.run))
        again = read_commits(self._root, run, committed, kind="open-commit", note=lambda _known: None)
        self._check_shards(ledger, shards_of_commits(again))
        state = f"open, {len(committed)} of {run.num_units} units"
        return RunReport(run.run, state, run.num_images, *ledger.num_images(), *ledger.shard_bytes()[:2])

    def _commits(self, units: Iterable[int], kind: Kind) -> Iterator[CommitRecord]:
        return read_commits(self._root, self._run, units, kind=kind, note=self.findings.append)

    def _is_sound(self, file: TableFile) -> bool:
        problem = table_problem(self._root, file)
        if problem:
            self._note("table", file.name, problem)
        return problem is None

    def _names_shards(self, file: TableFile) -> bool:
        """Whether a table of shards names nothing else; what lies elsewhere is not looked at."""
        try:
            for batch in self._batches(file, ["shard"]):
                catalog.require_shard_names(self._root, file.name, batch["shard"])
        except FeatureSetError as error:
            self._note("table", file.name, str(error).removeprefix(self._root.uri_of(file.name)).strip())
            return False
        return True

    def _batches(self, file: TableFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
        with catalog.table_file(self._root, file) as table:
            yield from table.iter_batches(batch_size=4096, columns=columns)

    def _check_counts(self, manifest: Manifest, ledger: Ledger, sound: set[str]) -> None:
        run = self._run
        facts = [
            ("images", manifest.num_planned, run.num_images),
            ("images", manifest.num_planned, manifest.num_embedded + manifest.num_quarantined),
            ("embedded images", manifest.num_embedded, manifest.index.num_rows),
            ("quarantined images", manifest.num_quarantined, manifest.quarantine.num_rows),
        ]
        if "plan" in sound:
            facts.append(("images", manifest.num_planned, ledger.num_planned()))
        if "shards" in sound:
            facts.append(("bytes of shards", manifest.size_bytes, ledger.shard_bytes()[1]))
        for what, said, counted in facts:
            if said != counted:
                self._note("count", paths.manifest(run.run), f"says {said} {what}, there are {counted}")

    def _check_ids(self, ledger: Ledger, file: str) -> None:
        for words, count, first in ledger.odd_ids():
            images = "an image is" if count == 1 else f"{count} images are"
            self._note("ids", file, f"does not go with the plan: {images} {words}, such as {', '.join(first)}")

    def _check_list(self, ledger: Ledger, manifest: Manifest) -> None:
        for name, indexed, listed in ledger.uneven_shards():
            said = f"has {indexed or 'no'} rows in the index and {listed or 'no'} in {manifest.shards.name}"
            self._note("shard-list", name, said)
        for unit, name in ledger.otherwise_committed(paths.shards(manifest.run)):
            said = f"commits something else than {name}, which {manifest.shards.name} lists"
            self._note("commit", paths.commit(manifest.run, unit), said)

    def _check_shards(self, ledger: Ledger, expected: Iterable[ExpectedShard]) -> None:
        if self._level >= _SIZES:
            for folder in ledger.shard_folders():
                ledger.enter_listing(folder, self._files(folder))
            for name, wanted, found in ledger.wrong_sizes():
                problem = "is missing" if found is None else f"has {found} bytes, its commit says {wanted}"
                self._note("shard-missing" if found is None else "shard-size", name, problem)
        if self._level >= _FOOTERS and self._record is not None:
            known = {finding.file for finding in self.findings}
            left = (each for each in expected if each.file.name not in known)
            num_shards, _, largest = ledger.shard_bytes()
            most = max(1, _IN_MEMORY // max(largest, 1)) if self._level == _FULL else NUM_THREADS
            said_s = time.monotonic()
            for number, (name, problems) in enumerate(in_threads(self._look, left, min(most, NUM_THREADS)), 1):
                for kind, problem in problems:
                    self._note(kind, name, problem)
                if time.monotonic() > said_s + _SAY_EVERY_S:
                    said_s = time.monotonic()
                    _LOG.info("run %d: %d of %d shards read", self._run.run, number, num_shards)

    def _look(self, expected: ExpectedShard) -> tuple[str, list[Problem]]:
        assert self._record is not None, "without it nobody looks"
        if self._level < _FULL:
            return expected.file.name, check_footer(self._root, expected, self._record)
        problems = check_whole(self._root, expected, self._record)
        if expected.rows is None and self._has_index:
            problems.append(("shard-list", "has rows that the index does not list together, in the order of shards"))
        return expected.file.name, problems

    def _files(self, folder: str) -> Iterator[FileEntry]:
        place = Folder(self._root.uri_of(folder), self._root.patience_s)
        with catalog.listing_errors(place):
            if place.is_folder():
                yield from place.files()

    def _note(self, kind: Kind, file: str, message: str) -> None:
        named = parse_name(file)
        self.findings.append(Finding(kind, file, message, self._run.run, named.unit if named else None))

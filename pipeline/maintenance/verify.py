"""A whole feature set looked at: records, then run by run, then whether what is broken counts for any reader.

What is broken is a finding and never an error; an error means that it cannot be told.
"""

import duckdb

from pipeline.config import Level
from pipeline.errors import FeatureSetError
from pipeline.featureset import catalog, paths
from pipeline.featureset.fingerprint import fingerprint
from pipeline.featureset.records import Abandonment, FeatureSetRecord, Manifest, RunRecord
from pipeline.maintenance.damage import Damage
from pipeline.maintenance.findings import Finding, Kind, Report, RunReport
from pipeline.maintenance.reading import read_patiently, table_problem
from pipeline.maintenance.run_check import RunCheck
from pipeline.maintenance.scratch import scratch_database
from pipeline.storage.folder import Folder


def verify(root: Folder, level: Level) -> Report:
    """Looks at everything that is committed.

    Args:
        root: the feature set.
        level: `counts` reads all records and tables; `sizes` also lists the shards; `footers` also opens each of them;
            `full` reads every byte.

    Raises:
        FeatureSetError: there is no feature set.
        StoreUnavailableError, AccessDeniedError: it cannot be told.
    """
    return _Verification(root, level).report()


class _Verification:
    """What was found so far."""

    def __init__(self, root: Folder, level: Level) -> None:
        self._root, self._level = root, level
        self._report = Report(root.uri, level)
        self._sound: dict[int, Manifest] = {}

    def report(self) -> Report:
        """Looks at all there is."""
        record = self._feature_set()
        runs = self._claimed_runs()
        if record is None and not self._report.findings:
            raise FeatureSetError(f"{self._root.uri} holds no feature set (there is no {paths.FEATURE_SET})")
        with scratch_database() as scratch:
            for run in runs:
                self._look_at(run, RunCheck(self._root, run, record=record, level=self._level), scratch)
        self._settle()
        return self._report

    def _feature_set(self) -> FeatureSetRecord | None:
        try:
            record = catalog.feature_set_record(self._root)
        except FeatureSetError as error:
            self._note("record", paths.FEATURE_SET, error)
            return None
        if record is None:
            return None
        if fingerprint(record.settings) != record.fingerprint:
            self._note("fingerprint", paths.FEATURE_SET, "names a fingerprint that its settings do not have")
        if record.position_encodings is not None:
            problem = table_problem(self._root, record.position_encodings)
            if problem:
                self._note("table", record.position_encodings.name, problem)
        return record

    def _claimed_runs(self) -> list[RunRecord]:
        """The runs whose records can be read; numbers are claimed one after the other, so a gap is a lost record."""
        records: dict[int, RunRecord | None] = {}
        with catalog.listing_errors(self._root):
            numbers = sorted(int(name) for name in self._root.names(paths.RUNS) if name.isdecimal())
        for number in numbers:
            try:
                records[number] = catalog.run_record(self._root, number)
            except FeatureSetError as error:
                if not self._is_there(paths.run_record(number)):
                    continue
                records[number] = None
                self._note("record", paths.run_record(number), error, run=number)
        ended = [number for number in numbers if self._is_there(paths.manifest(number))]
        last = max([0, *records, *ended])
        for number in range(1, last + 1):
            if number not in records and not self._is_there(paths.run_record(number)):
                self._note("record", paths.run_record(number), "is missing", run=number)
        if last and not self._is_there(paths.FEATURE_SET):
            self._note("record", paths.FEATURE_SET, "is missing")
        return [record for record in records.values() if record is not None]

    def _look_at(self, run: RunRecord, check: RunCheck, scratch: duckdb.DuckDBPyConnection) -> None:
        name = paths.manifest(run.run)
        has_next = self._is_there(paths.run_record(run.run + 1))  # asked first: it may be begun any moment
        try:
            end = catalog.run_end(self._root, run.run)
        except FeatureSetError as error:
            self._note("record", name, error, run=run.run)
            self._report.runs.append(RunReport(run.run, "unknown", run.num_images))
            return
        if end is None and has_next:
            self._note("record", name, f"is missing, and run {run.run + 1} was begun after it", run=run.run)
        if isinstance(end, Abandonment):
            self._report.runs.append(RunReport(run.run, "abandoned", run.num_images))
            return
        self._report.runs.append(check.check_sealed(end, scratch) if end else check.check_open(scratch))
        self._report.findings += check.findings
        if end is not None and check.has_sound_tables:
            self._sound[run.run] = end

    def _settle(self) -> None:
        """Puts what is broken but superseded aside, and adds what was given up and not embedded since."""
        report = self._report
        with Damage.of(self._root, list(self._sound.values()), report.broken_shards) as damage:
            counting, given_up = damage.shards(), damage.given_up()
        findings, report.findings = report.findings, []
        for finding in findings:
            counts = (
                not finding.is_of_shard or finding.run not in self._sound or (finding.run, finding.file) in counting
            )
            (report.findings if counts else report.superseded).append(finding)
        for run, count in given_up.items():
            said = f"holds {count} images whose shard was found damaged before the run was sealed"
            self._note("given-up", self._sound[run].quarantine.name, said, run=run)

    def _is_there(self, name: str) -> bool:
        try:
            read_patiently(self._root, name, lambda: self._root.size_bytes(name))
        except FileNotFoundError:
            return False
        return True

    def _note(self, kind: Kind, file: str, said: object, *, run: int | None = None) -> None:
        message = str(said).removeprefix(self._root.uri_of(file)).strip()
        self._report.findings.append(Finding(kind, file, message, run))

"""The commits of a run, read side by side: what they say of themselves, and which are missing or damaged."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from pipeline.errors import FeatureSetError
from pipeline.featureset import catalog, paths
from pipeline.featureset.records import CommitRecord, RunRecord
from pipeline.maintenance.findings import Finding, Kind
from pipeline.storage.folder import Folder
from pipeline.storage.spreading import in_threads


def read_commits(
    root: Folder, run: RunRecord, units: Iterable[int], *, kind: Kind, note: Callable[[Finding], None]
) -> Iterator[CommitRecord]:
    """The sound commits of some units, in their order.

    Args:
        root: the feature set.
        run: the run.
        units: numbers of units that should have a commit.
        kind: of the findings.
        note: takes a finding for each commit that is damaged, and one for all that are missing.
    """
    missing = []
    for unit, commit, problem in in_threads(partial(_read, root, run), units):
        if commit is not None:
            yield commit
        elif problem is not None:
            note(Finding(kind, paths.commit(run.run, unit), problem, run.run, unit))
        else:
            missing.append(unit)
    if missing:
        more = f", and those of {len(missing) - 1} more units" if len(missing) > 1 else ""
        note(Finding(kind, paths.commit(run.run, missing[0]), f"is missing{more}", run.run, missing[0]))


def _read(root: Folder, run: RunRecord, unit: int) -> tuple[int, CommitRecord | None, str | None]:
    """The unit, its commit if that is sound, and what is wrong with it; neither where there is none."""
    try:
        commit = catalog.commit_record(root, run.run, unit)
    except FeatureSetError as error:
        return unit, None, str(error).removeprefix(root.uri_of(paths.commit(run.run, unit))).strip()
    problem = None if commit is None else _problem(commit, run)
    return unit, None if problem else commit, problem


def _problem(commit: CommitRecord, run: RunRecord) -> str | None:
    if commit.fingerprint != run.fingerprint:
        return "is of other settings than its run"
    num_rows = commit.shard.num_rows if commit.shard else 0
    if len(commit.rows.image_id) != num_rows:
        return f"names {len(commit.rows.image_id)} images, its shard has {num_rows} rows"
    return None

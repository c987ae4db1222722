"""Harm done to a small feature set on disk: each function changes what lies there as an accident would."""

import os
import time
from pathlib import Path
from typing import Any

from pipeline.featureset import catalog, paths
from pipeline.featureset.records import CommitRecord, Manifest, Record, TableFile
from tests.small_set import SmallSet

HOUR_S = 3600


def path_of(small: SmallSet, name: str) -> Path:
    """Where a file of the set lies."""
    return Path(small.uri) / name


def commit_of(small: SmallSet, run: int, unit: int) -> CommitRecord:
    """The commit of a unit."""
    commit = catalog.commit_record(small.root, run, unit)
    assert commit is not None
    return commit


def shard_of(small: SmallSet, run: int, unit: int) -> TableFile:
    """The shard that a unit's commit names."""
    shard = commit_of(small, run, unit).shard
    assert shard is not None
    return shard


def manifest_of(small: SmallSet, run: int) -> Manifest:
    """The seal of a run."""
    manifest = catalog.manifest(small.root, run)
    assert manifest is not None
    return manifest


def rewrite(small: SmallSet, name: str, record: Record, **changes: Any) -> None:
    """Puts other fields into a record, with a digest that fits them."""
    path_of(small, name).write_bytes(record.model_copy(update=changes).to_bytes())


def leave(small: SmallSet, name: str, data: bytes = b"left behind") -> str:
    """Leaves a file that nothing names, as a killed or beaten writer does."""
    path = path_of(small, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return name


def age(small: SmallSet, hours: float) -> None:
    """Makes everything in the set that old."""
    then = time.time() - hours * HOUR_S
    for path in Path(small.uri).rglob("*"):
        os.utime(path, (then, then))


def contents(small: SmallSet) -> dict[str, bytes]:
    """Every file of the set with its bytes."""
    root = Path(small.uri)
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def fresh_names(run: int, unit: int = 0) -> dict[str, str]:
    """By kind, a name that a writer of that run might have given and nothing names."""
    tables = {kind: paths.run_table(run, kind) for kind in ("plan", "removed", "index", "shards", "quarantine")}
    staged = f"staging/{paths.token()}.tmp"
    return {**tables, "shard": paths.shard(run, unit), "positions": paths.position_encodings(), "staged": staged}

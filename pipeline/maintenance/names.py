"""Which file of a feature set a name is; the inverse of `featureset.paths`, and as strict as it."""

import re
from dataclasses import dataclass
from typing import Literal, cast

from pipeline.storage.local import STAGING

Kind = Literal["record", "commit", "plan", "removed", "index", "shards", "quarantine", "shard", "positions", "staged"]

_TOKEN = r"-[0-9a-f]{32}\.parquet"  # noqa: S105  no secret
_ANY_TOKEN = re.compile(r"(?:^|[-/])([0-9a-f]{32})\.(?:parquet|tmp)$", re.ASCII)
_NAMES = re.compile(
    rf"""
    featureset\.json | README\.md | croissant\.json | report\.html | {STAGING}/conditional-write-probe
    | position_encodings/(?P<positions>[0-9a-f]{{32}}\.parquet)
    | {STAGING}/(?P<staged>[0-9a-f]{{32}}\.tmp)
    | shards/(?P<shard_run>\d{{6,}})/(?P<shard>\d{{9,}}){_TOKEN}
    | runs/(?P<run>\d{{6,}})/(?:
        run\.json | manifest\.json | commits/(?P<commit>\d{{9,}})\.json
        | (?P<table>plan|removed|index|shards|quarantine){_TOKEN}
    )
    """,
    re.VERBOSE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class FileName:
    """What a name says: the kind of file, and of which run and unit it is where it is of one."""

    kind: Kind
    run: int | None = None
    unit: int | None = None


def parse_name(name: str) -> FileName | None:
    """What kind of file `name` is, below the root of a feature set; None for a name that no writer of ours makes."""
    found = _NAMES.fullmatch(name)
    if found is None:
        return None
    run = found["run"] or found["shard_run"]
    unit = found["commit"] or found["shard"]
    return FileName(_kind(found), int(run) if run else None, int(unit) if unit else None)


def token_of(name: str) -> str | None:
    """The random part of a name, which no other file has; None for a name without one."""
    found = _ANY_TOKEN.search(name)
    return found[1] if found else None


def _kind(found: re.Match[str]) -> Kind:
    if found["table"]:
        return cast("Kind", found["table"])
    kinds: tuple[Kind, ...] = ("positions", "staged", "shard", "commit")
    return next((kind for kind in kinds if found[kind]), "record")

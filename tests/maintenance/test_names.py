"""Names: every one that a writer gives is known for what it is, and no other is taken for one of ours."""

import re

import pytest

from pipeline.featureset import paths
from pipeline.maintenance.names import FileName, parse_name, token_of

TOKEN = "0123456789abcdef0123456789abcdef"  # noqa: S105  no secret

# The names of tests are the same in every process.
TOKENS = re.compile("[0-9a-f]{32}")


@pytest.mark.parametrize(
    ("name", "kind", "run", "unit"),
    [
        (paths.FEATURE_SET, "record", None, None),
        (paths.CARD, "record", None, None),
        (paths.CROISSANT, "record", None, None),
        (paths.REPORT, "record", None, None),
        (paths.run_record(3), "record", 3, None),
        (paths.manifest(3), "record", 3, None),
        (paths.commit(3, 41), "commit", 3, 41),
        (paths.shard(1_234_567, 41), "shard", 1_234_567, 41),
        (paths.position_encodings(), "positions", None, None),
        *((paths.run_table(3, kind), kind, 3, None) for kind in ("plan", "removed", "index", "shards", "quarantine")),
        (f"staging/{TOKEN}.tmp", "staged", None, None),
        ("staging/conditional-write-probe", "record", None, None),
    ],
    ids=lambda value: TOKENS.sub("TOKEN", value) if isinstance(value, str) else str(value),
)
def test_a_name_that_a_writer_gives_is_known(name: str, kind: str, run: int | None, unit: int | None):
    assert parse_name(name) == FileName(kind, run, unit)


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        "old/featureset.json",
        "shards/README.md",
        "featureset.json.bak",
        f"shards/000001/000000001-{TOKEN}.parquet.bak",
        f"shards/000001/000000001-{TOKEN[:-1]}.parquet",
        f"shards/000001/000000001-{TOKEN.upper()}.parquet",
        f"shards/1/000000001-{TOKEN}.parquet",
        f"shards/000001/deeper/000000001-{TOKEN}.parquet",
        f"runs/000001/notes-{TOKEN}.parquet",
        "runs/000001/commits/readme.json",
        f"staging/{TOKEN}.parquet",
        f"runs/00000\u0661/plan-{TOKEN}.parquet",
        f"shards/000001/000000001-{TOKEN}.parquet\n",
    ],
)
def test_any_other_name_is_not_ours(name: str):
    assert parse_name(name) is None


def test_the_token_is_the_random_part():
    assert token_of(f"shards/000001/000000001-{TOKEN}.parquet") == TOKEN
    assert token_of(f"position_encodings/{TOKEN}.parquet") == TOKEN
    assert token_of("runs/000001/run.json") is None

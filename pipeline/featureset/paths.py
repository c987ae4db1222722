"""Where everything lies below a feature set's root; readers follow records, never listings, to data.

featureset.json                     what the numbers mean; written once
README.md                           the set described for people; derived, and replaced with every seal
croissant.json                      the same for tools
report.html                         the same as pictures, for people; jobs/report.py and every run write it
position_encodings/<token>.parquet  one row per stored level
shards/<run>/<unit>-<token>.parquet one row per image, one shard per unit
runs/<run>/run.json                 claims the run's number and names its plan
runs/<run>/plan-<token>.parquet     one row per unit: its images in order
runs/<run>/commits/<unit>.json      makes a unit's rows count
runs/<run>/manifest.json            ends the run: seals it and names its index, shards and quarantine, or abandons it
staging/                            unfinished files of local writers, and the probe of a store's conditional writes
"""

import re
import uuid

FEATURE_SET = "featureset.json"
CARD = "README.md"
CROISSANT = "croissant.json"
REPORT = "report.html"
RUNS = "runs"

# What a record may name: a file below the root, by parts that lead neither up nor elsewhere.
PLAIN = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9_.-]*/)*[A-Za-z0-9_-][A-Za-z0-9_.-]*")
SHARD = r"shards/(\d{6,})/(\d{9,})-[0-9a-f]{32}\.parquet"


def token() -> str:
    """A random name part that no other writer has, also the write token of commits."""
    return uuid.uuid4().hex


def run_folder(run: int) -> str:
    """The folder of run number `run` (from 1)."""
    return f"{RUNS}/{run:06d}"


def run_record(run: int) -> str:
    """The record that claims run number `run`."""
    return f"{run_folder(run)}/run.json"


def manifest(run: int) -> str:
    """The record that ends run number `run`."""
    return f"{run_folder(run)}/manifest.json"


def run_table(run: int, kind: str) -> str:
    """A fresh unique name for a table of the run: `plan`, `removed`, `index`, `shards`, `quarantine`."""
    return f"{run_folder(run)}/{kind}-{token()}.parquet"


def commits(run: int) -> str:
    """The folder of the run's commits."""
    return f"{run_folder(run)}/commits"


def commit(run: int, unit: int) -> str:
    """The record that makes unit number `unit` (from 0) of the run count."""
    return f"{commits(run)}/{unit:09d}.json"


def shards(run: int) -> str:
    """The folder of the run's shards."""
    return f"shards/{run:06d}"


def shard(run: int, unit: int) -> str:
    """A fresh unique name for a shard of that unit."""
    return f"{shards(run)}/{unit:09d}-{token()}.parquet"


def unit_of_shard(name: str) -> tuple[int, int]:
    """The run and the unit that a shard's name says it is of; `name` matches `SHARD`."""
    _, run, file = name.split("/")
    return int(run), int(file.partition("-")[0])


def position_encodings() -> str:
    """A fresh unique name for the table of position encodings."""
    return f"position_encodings/{token()}.parquet"

"""One bit of a shard is flipped, anywhere, again and again: the full verification finds every one."""

import random
import tempfile
from pathlib import Path

from pipeline.featureset.index import index_table
from pipeline.maintenance.shard_check import ExpectedShard, check_bytes
from tests.chaos.outcome import Outcome, timed
from tests.chaos.room import Room
from tests.damaging import commit_of, path_of
from tests.small_set import MAPS, SmallSet

IDS = ["a", "b", "c"]
CODECS = {"uncompressed maps": MAPS, "vectors under zstd": ()}


def drill(_: Room, rng: random.Random, *, num_flips: int) -> Outcome:
    """Flips `num_flips` bits of a shard of each kind; one that is not found counts as wrong."""
    with timed("bit_flips", wanted=num_flips * len(CODECS)) as outcome:
        for codec, maps in CODECS.items():
            with tempfile.TemporaryDirectory() as folder:
                small = SmallSet(Path(folder) / "set", maps=maps)
                small.embed([IDS])
                _flip(small, rng, num_flips, outcome=outcome, codec=codec)
    return outcome


def _flip(small: SmallSet, rng: random.Random, num_flips: int, *, outcome: Outcome, codec: str) -> None:
    commit = commit_of(small, 1, 0)
    assert commit.shard is not None
    expected = ExpectedShard(commit.shard, index_table(commit))
    whole = path_of(small, commit.shard.name).read_bytes()
    outcome.planned += len(IDS)
    if check_bytes(whole, expected, small.record):
        outcome.fail(f"{codec}: a whole shard is called damaged")
    for _ in range(num_flips):
        place, bit = rng.randrange(len(whole)), rng.randrange(8)
        data = bytearray(whole)
        data[place] ^= 1 << bit
        outcome.faults += 1
        if [kind for kind, _ in check_bytes(bytes(data), expected, small.record)] != ["shard-bytes"]:
            outcome.fail(f"{codec}: bit {bit} of byte {place} of {len(whole)} was not found")

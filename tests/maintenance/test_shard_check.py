"""One shard: one flipped bit anywhere is found, and so is everything that its bytes say and should not."""

import random
import sys
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from pipeline.featureset import paths
from pipeline.featureset.index import index_rows, index_table
from pipeline.featureset.records import CommitRecord, TableFile
from pipeline.maintenance.shard_check import ExpectedShard, check_bytes, check_footer, check_whole
from pipeline.sinks.shards import EmbeddedImages, shard_writer
from pipeline.storage.folder import Folder
from tests.damaging import commit_of, leave, path_of
from tests.faults.faults import FlipBit
from tests.faults.proxied import ProxiedBucket
from tests.small_set import FINE, MAPS, SmallSet, flip_byte, stored_values

IDS = ["a", "b", "c"]
NUM_FLIPS = 200


def embedded(small: SmallSet) -> ExpectedShard:
    """The shard of a run of three images, as its commit names it."""
    small.embed([IDS])
    commit = commit_of(small, 1, 0)
    assert commit.shard is not None
    return ExpectedShard(commit.shard, index_table(commit))


def written(small: SmallSet, images: EmbeddedImages, said: EmbeddedImages | None = None) -> ExpectedShard:
    """A shard of these images, committed with the rows of others."""
    with shard_writer(small.root, small.record, run=1, unit=0) as shard:
        shard.append(images)
    said = said or images
    rows = index_rows(said.image_ids, said.uris, said.original_sizes, embeddings=said.embeddings)
    commit = {"run": 1, "unit": 0, "token": "t", "fingerprint": small.record.fingerprint, "quarantine": ()}
    assert shard.file is not None
    return ExpectedShard(shard.file, index_table(CommitRecord(**commit, shard=shard.file, rows=rows)))


@pytest.mark.parametrize("maps", [MAPS, ()], ids=["maps as they are", "pooled alone under zstd"])
def test_one_flipped_bit_anywhere_is_found(tmp_path: Path, maps):
    small = SmallSet(tmp_path / "set", maps=maps)
    expected = embedded(small)
    whole = path_of(small, expected.file.name).read_bytes()
    assert check_bytes(whole, expected, small.record) == []
    seed = random.randrange(2**32)
    sys.stdout.write(f"seed {seed}, {len(whole)} bytes\n")
    draws, found, located, began = random.Random(seed), 0, 0, time.monotonic()
    for _ in range(NUM_FLIPS):
        place, bit = draws.randrange(len(whole)), draws.randrange(8)
        data = bytearray(whole)
        data[place] ^= 1 << bit
        problems = check_bytes(bytes(data), expected, small.record)
        found += [kind for kind, _ in problems] == ["shard-bytes"]
        located += " in " in problems[0][1] if problems else 0
    seconds = time.monotonic() - began
    sys.stdout.write(f"{found} of {NUM_FLIPS} found, rows named for {located}, {seconds:.1f} s\n")
    assert found == NUM_FLIPS, f"seed {seed}"
    assert located > NUM_FLIPS / 20, f"seed {seed}"


@pytest.mark.parametrize(("place", "said"), [("page", "row 1 (b) in fpn_0"), ("footer", "the footer")])
def test_page_checksums_tell_which_row_was_hit(small: SmallSet, place: str, said: str):
    expected = embedded(small)
    path = path_of(small, expected.file.name)
    data = path.read_bytes()
    values = stored_values("b", FINE).tobytes()
    flip_byte(path, data.index(values) + 100 if place == "page" else len(data) - 6)
    ((kind, message),) = check_whole(small.root, expected, small.record)
    assert kind == "shard-bytes"
    assert message == f"has other bytes than were committed; hit: {said}"


def test_a_shard_that_is_gone_or_cut_is_said_to_be(small: SmallSet):
    expected = embedded(small)
    path = path_of(small, expected.file.name)
    path.write_bytes(path.read_bytes()[:-3])
    ((kind, message),) = check_whole(small.root, expected, small.record)
    assert kind == "shard-size"
    assert message.endswith(f"bytes, its commit says {expected.file.size_bytes}")
    assert [kind for kind, _ in check_footer(small.root, expected, small.record)] == ["shard-footer"]
    path.unlink()
    for check in (check_whole, check_footer):
        assert check(small.root, expected, small.record) == [("shard-missing", "is missing")]


def test_a_shard_that_the_disk_does_not_give_is_a_finding(small: SmallSet):
    expected = embedded(small)
    path = path_of(small, expected.file.name)
    path.unlink()
    path.mkdir()
    ((kind, message),) = check_whole(small.root, expected, small.record)
    assert (kind, message) == ("shard-bytes", "cannot be read: Is a directory")


def test_rows_other_than_those_of_the_index_are_named(small: SmallSet):
    images = small.images(IDS)
    other = replace(images, embeddings=small.images(IDS, version="2").embeddings, image_ids=["a", "x", "c"])
    problems = check_whole(small.root, written(small, images, other), small.record)
    assert problems == [
        ("shard-rows", "has another image_id than the index in row 1"),
        ("shard-rows", "has another embedding than the index in row 0"),
    ]
    fewer = written(small, images, small.images(["a", "b"]))
    problems = check_whole(small.root, fewer, small.record)
    assert problems == [("shard-rows", "has 3 rows, the index names 2 of them or in another order")]


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", ["fpn_0", "fpn_1", "embedding"])
def test_numbers_that_are_none_are_found(small: SmallSet, column: str, number: float):
    images = small.images(IDS)
    values = images.embeddings if column == "embedding" else images.maps[column]
    values[1, 2] = number
    problems = check_whole(small.root, written(small, images), small.record)
    assert ("shard-numbers", f"has infinite or undefined numbers in {column}") in [
        (kind, message.partition(" of row group")[0]) for kind, message in problems
    ]


@pytest.mark.parametrize("check", [check_footer, check_whole])
def test_a_shard_of_another_unit_or_of_other_settings_is_found_by_its_footer(small: SmallSet, check):
    expected = written(small, small.images(IDS))
    alien = small.record.model_copy(update={"fingerprint": "other"})
    ((kind, message),) = check(small.root, expected, alien)
    assert (kind, message) == (
        "shard-footer",
        f"says it is of fingerprint {small.record.fingerprint}, not other",
    )
    name = leave(small, paths.shard(2, 5), path_of(small, expected.file.name).read_bytes())
    elsewhere = replace(expected, file=expected.file.model_copy(update={"name": name}))
    assert [message for _, message in check(small.root, elsewhere, small.record)] == [
        "says it is of run 1, not 2",
        "says it is of unit 0, not 5",
    ]


@pytest.mark.parametrize("check", [check_footer, check_whole])
def test_a_shard_with_other_rows_or_columns_is_found_by_its_footer(small: SmallSet, check):
    expected = written(small, small.images(IDS))
    fewer = replace(expected, file=expected.file.model_copy(update={"num_rows": 4}))
    assert check(small.root, fewer, small.record)[0] == ("shard-footer", "has 3 rows, its commit says 4")
    narrow = small.record.model_copy(update={"maps": MAPS[:1]})
    ((kind, message),) = check(small.root, expected, narrow)
    assert kind == "shard-footer"
    assert message.startswith("has other columns than this feature set: image_id, uri")


def test_bytes_that_were_never_a_shard_are_found_even_if_they_are_those_that_were_committed(small: SmallSet):
    data = b"no shard"
    name = leave(small, paths.shard(1, 0), data)
    file = TableFile(name=name, num_rows=1, size_bytes=len(data), sha256=sha256(data).hexdigest())
    ((kind, message),) = check_whole(small.root, ExpectedShard(file), small.record)
    assert (kind, message[:30]) == ("shard-bytes", "was committed with bytes that ")
    assert check_footer(small.root, ExpectedShard(file), small.record)[0][0] == "shard-footer"


def test_a_bit_that_flips_on_the_way_is_no_damage(store: ProxiedBucket):
    remote = SmallSet(f"s3://{store.bucket}/set", maps=())
    expected = embedded(remote)
    fault = store.proxy.install(FlipBit(first=1, operation="GetObject"))
    assert check_whole(Folder(remote.uri, 30.0), expected, remote.record) == []
    assert fault.fired
    assert check_footer(Folder(remote.uri, 30.0), expected, remote.record) == []

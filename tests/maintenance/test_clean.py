"""Cleaning: deletes only what no reader and no writer can need, only what is old, and only when told to."""

import os
import random
import re
import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path

import pytest

from pipeline.errors import ConfigError, SinkError
from pipeline.featureset import paths
from pipeline.featureset.records import CommitRecord, RunRecord
from pipeline.maintenance.clean import clean
from pipeline.maintenance.orphans import Judged, Orphans
from pipeline.maintenance.verify import verify
from pipeline.readers.feature_set import open_features
from pipeline.sinks.commits import commit_unit
from pipeline.sinks.runs import abandon_run
from pipeline.sinks.seal import seal_run
from pipeline.sinks.shards import shard_writer
from pipeline.storage.folder import Folder
from tests.damaging import HOUR_S, age, contents, fresh_names, leave, path_of, shard_of
from tests.faults.faults import Answer, Fault, Forward
from tests.faults.operations import split_target
from tests.faults.proxied import ProxiedBucket
from tests.faults.wire import Request, Response
from tests.small_set import SmallSet, stored_values

FLOOR_S = 72 * HOUR_S


def run_clean(small: SmallSet, *, is_certain: bool) -> list[Judged]:
    return list(clean(small.root, Orphans(small.root), older_than_s=FLOOR_S, is_certain=is_certain))


def in_flight(small: SmallSet, run: RunRecord, unit: int, ids: list[str]) -> CommitRecord:
    """A shard that is written and not committed yet, with the commit that its writer is about to create."""
    with shard_writer(small.root, small.record, run=run.run, unit=unit) as shard:
        shard.append(small.images(ids))
    facts = {"run": run.run, "unit": unit, "token": paths.token(), "fingerprint": run.fingerprint, "quarantine": ()}
    return CommitRecord(**facts, shard=shard.file, rows=shard.rows)


class Accidents:
    """A set with a sealed, an abandoned and an open run, and every kind of orphan in numbers drawn from a seed."""

    def __init__(self, small: SmallSet, draws: random.Random) -> None:
        self.small, self._draws = small, draws
        self.old: list[str] = []
        self.young: list[str] = []
        sealed = [[f"s{unit}{place}" for place in range(draws.randint(1, 3))] for unit in range(draws.randint(1, 4))]
        small.embed(sealed, bad=[draws.choice(sealed[0])])
        abandoned = small.begin([["x"], ["y"]])
        small.commit(abandoned, 0, ["x"])
        abandon_run(small.root, 2)
        self.run = small.begin([["o0"], ["o1"], ["o2"]])
        small.commit(self.run, 0, ["o0"])
        self.waiting = in_flight(small, self.run, 1, ["o1"])
        self.stranger = leave(small, "shards/000001/notes.txt")
        self._kept = set(contents(small)) - {shard_of(small, 2, 0).name}
        for name in self._orphans(len(sealed)):
            (self.old if draws.random() < 0.7 else self.young).append(leave(small, name))
        self.old.append(shard_of(small, 2, 0).name)
        age(small, 100)
        for name in self.young:
            os.utime(path_of(small, name), (time.time(), time.time()))

    @property
    def left(self) -> set[str]:
        """What is there after cleaning."""
        return self._kept | set(self.young)

    def _orphans(self, num_sealed: int) -> list[str]:
        draws, names = self._draws, []
        for _ in range(draws.randint(1, 4)):
            tables = [paths.run_table(run, kind) for run in (1, 2) for kind in ("plan", "removed", "index", "shards")]
            claims = [paths.run_table(3, kind) for kind in ("plan", "removed")]
            shards = [paths.shard(1, draws.randrange(num_sealed)), paths.shard(2, 1), paths.shard(3, 0)]
            other = [fresh_names(1)[kind] for kind in ("quarantine", "positions", "staged")]
            names += [*tables, *claims, *shards, *other]
        return names


@pytest.mark.parametrize("seed", random.sample(range(2**32), 6), ids=[f"draw {number}" for number in range(6)])
def test_exactly_the_old_orphans_go_and_every_id_still_reads(small: SmallSet, seed: int):
    sys.stdout.write(f"seed {seed}\n")
    made = Accidents(small, random.Random(seed))
    before, ids = contents(small), open_features(small.uri, sealed_only=True).image_ids
    listed = run_clean(small, is_certain=False)
    assert contents(small) == before, "without --yes nothing changes"
    assert {each.name for each in listed if each.is_orphan} == set(made.old)
    assert [each.name for each in listed if not each.is_orphan] == [made.stranger]

    assert {each.name for each in run_clean(small, is_certain=True)} == {each.name for each in listed}
    after = contents(small)
    assert after.keys() == made.left
    assert after == {name: before[name] for name in after}
    assert run_clean(small, is_certain=True)[0].name == made.stranger, "nothing else is left to say"

    features = open_features(small.uri, sealed_only=True)
    assert features.image_ids == ids
    for image_id in ids:
        for spec in small.maps:
            assert (features[image_id].maps[spec.column] == stored_values(image_id, spec).transpose(2, 0, 1)).all()
    assert verify(small.root, "full").findings == []

    commit_unit(small.root, made.waiting)
    small.commit(made.run, 2, ["o2"])
    seal_run(small.root, made.run)
    assert sorted(open_features(small.uri).image_ids) == sorted([*ids, "o0", "o1", "o2"]), "what was in flight arrived"


def test_a_zombie_that_comes_after_the_cleaning_changes_nothing(small: SmallSet):
    """Its shard is gone; its commit comes second to the one that stands, or counts for nothing."""
    run = small.begin([["a"], ["b"]])
    beaten = in_flight(small, run, 0, ["a"])
    small.commit(run, 0, ["a"])
    small.commit(run, 1, ["b"])
    age(small, 100)
    assert [each.name for each in run_clean(small, is_certain=True)] == [beaten.shard.name]
    assert commit_unit(small.root, beaten).token != beaten.token
    seal_run(small.root, run)

    given_up = small.begin([["c"]])
    late = in_flight(small, given_up, 0, ["c"])
    abandon_run(small.root, 2)
    age(small, 100)
    assert [each.name for each in run_clean(small, is_certain=True)] == [late.shard.name]
    assert commit_unit(small.root, late) == late, "the commit is created, in a run that nobody will seal"
    assert verify(small.root, "full").findings == []
    assert sorted(open_features(small.uri).image_ids) == ["a", "b"]


@pytest.mark.parametrize("older_than_s", [0.0, 3599.0, -1.0, float("nan")])
def test_an_age_below_an_hour_is_refused(small: SmallSet, older_than_s: float):
    with pytest.raises(ConfigError, match="at least an hour"):
        clean(small.root, Orphans(small.root), older_than_s=older_than_s, is_certain=True)


def test_a_file_from_the_future_is_young(small: SmallSet):
    staged = leave(small, fresh_names(1)["staged"])
    os.utime(path_of(small, staged), (2**33, 2**33))
    assert run_clean(small, is_certain=True) == []


def test_what_cannot_be_deleted_is_said(small: SmallSet):
    name = leave(small, fresh_names(1)["staged"])
    age(small, 100)
    (found,) = Orphans(small.root).find(FLOOR_S)
    path_of(small, name).unlink()
    path_of(small, name).mkdir()

    class Found:
        """Orphans that were found before the file became a folder."""

        def find(self, _older_than_s: float) -> list[Judged]:
            return [found]

    with pytest.raises(SinkError, match=f"{small.uri}: Is a directory"):
        list(clean(small.root, Found(), older_than_s=FLOOR_S, is_certain=True))  # type: ignore[arg-type]


# Object stores


@dataclass
class ClockAhead(Fault):
    """A store that says it is so many hours later than it was when its objects were written."""

    hours: float = 100

    async def act(self, request: Request, forward: Forward) -> Response:
        response = await forward(request)
        date = ("Date", formatdate(time.time() + self.hours * HOUR_S, usegmt=True))
        return replace(response, headers=(*response.without("Date").headers, date))


@dataclass
class PagesOfOne(Fault):
    """Lists one unfinished upload to a page, begun now: moto has them all begun in 2010."""

    operation: str = "ListMultipartUploads"

    async def act(self, request: Request, forward: Forward) -> Response:
        response = await forward(request)
        after = split_target(request.target)[1].get("key-marker", [""])[0]
        text = response.body.decode()
        found = re.findall("<Upload>.*?</Upload>", text, re.DOTALL)
        keys = sorted(key for each in found for key in re.findall("<Key>(.*?)</Key>", each) if key > after)
        begun = f"<Initiated>{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}</Initiated>"
        shown = [each for each in found if keys and f"<Key>{keys[0]}</Key>" in each]
        page = re.sub("<Initiated>.*?</Initiated>", begun, "".join(shown))
        marks = f"<NextKeyMarker>{keys[0]}</NextKeyMarker><NextUploadIdMarker>x</NextUploadIdMarker>" if keys else ""
        truncated = f"<IsTruncated>{'true' if len(keys) > 1 else 'false'}</IsTruncated>"
        body = f"<ListMultipartUploadsResult>{truncated}{marks}{page}</ListMultipartUploadsResult>"
        return response.with_body(body.encode())


def begin_upload(store: ProxiedBucket, key: str) -> None:
    """Sends a part of an object and then no more."""
    upload = store.direct.create_multipart_upload(Bucket=store.bucket, Key=key)["UploadId"]
    part = {"Bucket": store.bucket, "Key": key, "UploadId": upload, "PartNumber": 1}
    store.direct.upload_part(**part, Body=b"part")


def uploads(store: ProxiedBucket) -> set[str]:
    return {each["Key"] for each in store.direct.list_multipart_uploads(Bucket=store.bucket).get("Uploads", [])}


def test_unfinished_uploads_and_orphans_of_a_bucket_go_when_they_are_old_by_the_clock_of_the_store(
    store: ProxiedBucket,
):
    remote = SmallSet(f"s3://{store.bucket}/set", maps=())
    remote.embed([["a"]])
    kept = set(store.keys())
    orphan = paths.shard(1, 0)
    remote.root.create(orphan, b"lost the race")
    ours = {paths.shard(1, 0), paths.run_table(1, "index")}
    for key in (*(f"set/{name}" for name in ours), "set/strange.bin", "settings/of-others.parquet"):
        begin_upload(store, key)

    store.proxy.install(PagesOfOne())
    assert run_clean(remote, is_certain=True) == [], "all of it is young"
    store.proxy.install(ClockAhead())
    listed = run_clean(remote, is_certain=False)
    assert {each.name for each in listed if each.is_orphan} == {orphan, *ours}
    assert [each.name for each in listed if not each.is_orphan] == ["strange.bin"]
    assert len(uploads(store)) == 4
    run_clean(remote, is_certain=True)
    assert set(store.keys()) == kept
    assert uploads(store) == {"set/strange.bin", "settings/of-others.parquet"}
    assert open_features(remote.uri).image_ids == ["a"]


def test_a_writer_whose_upload_was_aborted_fails_and_leaves_nothing(store: ProxiedBucket):
    folder = Folder(f"s3://{store.bucket}/set", 120.0)

    def write_slowly() -> None:
        with folder.writer("shards/slow") as stream:
            stream.write(bytes(64 * 2**20))  # a part, and nothing that is left for the end
            (upload,) = folder.unfinished_uploads()
            assert upload.name == "shards/slow"
            folder.abort_upload(upload)
            folder.abort_upload(upload)

    # moto says 500, S3 says this.
    store.proxy.install(Answer(404, "NoSuchUpload", operation="CompleteMultipartUpload"))
    with pytest.raises(SinkError, match="something aborts uploads"):
        write_slowly()
    assert store.keys() == []
    assert list(folder.unfinished_uploads()) == []


def test_clocks_of_stores(store: ProxiedBucket, tmp_path: Path):
    for folder in (Folder(tmp_path), Folder(f"s3://{store.bucket}/set")):
        folder.create("file", b"")
        (entry,) = folder.files()
        assert entry.modified_s - 1.5 <= folder.now_s() <= time.time() + 1.5
        assert [each.name for each in folder.files()] == ["file"], "asking leaves nothing"

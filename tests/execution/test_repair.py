"""Repair without a cluster: which run it works on, what that run holds, and what it refuses to build on."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import RepairConfig, checked_job
from pipeline.errors import AuditFailedError, FeatureSetError, RunConflictError, RunIncompleteError
from pipeline.execution.repair import choose_run, repair, require_repairable
from pipeline.execution.task import Task
from pipeline.featureset import catalog, paths
from pipeline.featureset.audit import AuditRow
from pipeline.featureset.records import CommitRecord, FeatureSetRecord, Manifest, QuarantineRow, RunRecord
from pipeline.featureset.schema import PLAN
from pipeline.maintenance.verify import verify
from pipeline.readers.feature_set import open_features
from pipeline.sinks.commits import commit_unit
from pipeline.sinks.runs import abandon_run
from pipeline.sinks.seal import seal_run
from pipeline.sinks.shards import EmbeddedImages, shard_writer
from tests.small_set import flip_byte

NAMES = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]


class Embedded:
    """A feature set of pooled vectors, made by the real sinks as an embed command makes it, but for the encoder."""

    def __init__(self, config: RepairConfig) -> None:
        self.task = Task.of(config)
        self.settings = self.task.settings(config, "cpu")
        self.root = self.task.root

    def begin(self) -> RunRecord:
        """The run of whatever the source has that is new."""
        run = self.task.open_run(self.settings, 2)
        assert run is not None
        return run

    def commit(
        self,
        run: RunRecord,
        units: Sequence[int] | None = None,
        bad: Sequence[str] = (),
        *,
        audit: tuple[AuditRow, ...] = (),
    ) -> None:
        """Commits units of a run, all that there are unless told which."""
        record = catalog.feature_set_record(self.root)
        assert record is not None
        for row in catalog.read_table(self.root, run.plan).to_pylist():
            if units is None or row["unit"] in units:
                self._commit(record, run, row, bad=bad, audit=audit)

    def embed(self, bad: Sequence[str] = ()) -> Manifest:
        """A whole run."""
        run = self.begin()
        self.commit(run, bad=bad)
        return seal_run(self.root, run)

    def choose(self, broken: dict[int, set[str]], size: int = 2, *, accept_audit: bool = False) -> RunRecord | None:
        """What a repair would work on."""
        return choose_run(self.task, self.settings, broken=broken, size=size, accept_audit=accept_audit)

    def shards(self, run: int, *units: int) -> dict[int, set[str]]:
        """The shards of some units as a verification names broken ones."""
        commits = [catalog.commit_record(self.root, run, unit) for unit in units]
        return {run: {commit.shard.name for commit in commits if commit and commit.shard}}

    def planned(self, run: RunRecord) -> list[list[str]]:
        """The ids of each unit of a run."""
        ids: list[list[str]] = catalog.read_table(self.root, run.plan)["image_id"].to_pylist()
        return ids

    def listed(self, run: RunRecord) -> dict[str, tuple[object, ...]]:
        """By id, what the plan of a run says of the image: URI, bytes and version."""
        plan = catalog.read_table(self.root, run.plan)
        columns = [plan[name].combine_chunks().flatten().to_pylist() for name in ("uri", "size_bytes", "version")]
        ids = plan["image_id"].combine_chunks().flatten().to_pylist()
        return dict(zip(ids, zip(*columns, strict=True), strict=True))

    def _commit(
        self, record: FeatureSetRecord, run: RunRecord, row: dict, *, bad: Sequence[str], audit: tuple[AuditRow, ...]
    ) -> None:
        good = [(name, uri) for name, uri in zip(row["image_id"], row["uri"], strict=True) if name not in bad]
        why = {"stage": "fetch", "error_class": "transient", "error_type": "ImageChanged", "message": "test"}
        rows = [
            QuarantineRow(image_id=name, uri=uri, **why)
            for name, uri in zip(row["image_id"], row["uri"], strict=True)
            if name in bad
        ]
        with shard_writer(self.root, record, run=run.run, unit=row["unit"]) as shard:
            if good:
                ids, uris = map(list, zip(*good, strict=True))
                vectors = np.full((len(ids), 256), run.run / 16, np.float32)
                shard.append(EmbeddedImages(ids, uris, [(1, 1)] * len(ids), {}, vectors))
        facts = {"run": run.run, "unit": row["unit"], "token": paths.token(), "fingerprint": run.fingerprint}
        commit_unit(
            self.root, CommitRecord(**facts, shard=shard.file, rows=shard.rows, audit=audit, quarantine=tuple(rows))
        )


@pytest.fixture
def configure(tmp_path: Path) -> Callable[..., RepairConfig]:
    """The configuration of a repair of five files that never get decoded."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_text(name)

    def make(**changes: object) -> RepairConfig:
        values: dict[str, object] = {
            "source": {"kind": "directory", "uri": str(folder), "suffixes": [".jpg"]},
            "sink": {"uri": str(tmp_path / "features")},
            "model": {"name": "hiera_debug", "checkpoint": "random", "overrides": []},
            "features": {"kind": "pooled"},
            "preprocess": {},
            "execution": {},
        }
        return checked_job({**values, **changes}, RepairConfig)

    return make


@pytest.fixture
def embedded(configure: Callable[..., RepairConfig]) -> Embedded:
    """The set of that command, not begun."""
    return Embedded(configure())


def test_the_new_run_holds_exactly_the_images_of_broken_shards_as_they_were_listed(embedded: Embedded, tmp_path: Path):
    embedded.embed()
    (tmp_path / "photos/b.jpg").write_text("another b")
    run = embedded.choose(embedded.shards(1, 0, 2), size=2)
    assert run is not None
    assert (run.run, run.images_per_unit, run.num_images) == (2, 2, 3)
    assert run.source == embedded.task.source.description
    assert embedded.planned(run) == [["a.jpg", "b.jpg"], ["e.jpg"]]
    listed, repaired = (embedded.listed(catalog.run_record(embedded.root, number)) for number in (1, 2))
    assert repaired == {name: listed[name] for name in ("a.jpg", "b.jpg", "e.jpg")}


def test_what_a_repair_sealed_counts_and_its_shards_are_outlived(embedded: Embedded):
    embedded.embed()
    broken = embedded.shards(1, 1)
    flip_byte(Path(embedded.root.uri_of(next(iter(broken[1])))), 300)
    assert verify(embedded.root, "full").broken_shards == broken
    run = embedded.choose(broken)
    assert run is not None
    embedded.commit(run)
    seal_run(embedded.root, run)
    report = verify(embedded.root, "full")
    assert (report.findings, {finding.file for finding in report.superseded}) == ([], broken[1])
    assert embedded.choose(broken) is None, "nothing of it is left to repair"
    features = open_features(embedded.root.uri)
    assert sorted(features.image_ids) == NAMES
    assert not any(Path(name).name in str(broken) for name in features.files), "no reader is told of the broken shard"
    assert {round(float(features[name].embedding[0] * 16)) for name in ("c.jpg", "d.jpg")} == {2}
    assert embedded.task.open_run(embedded.settings) is None, "the next embed command finds nothing to do"


def test_a_repair_that_was_killed_is_finished_by_either_command(embedded: Embedded):
    embedded.embed()
    broken = embedded.shards(1, 0)
    run = embedded.choose(broken)
    assert embedded.choose(broken) == run
    assert embedded.task.open_run(embedded.settings) == run


def test_a_changed_image_that_a_repair_came_too_late_for_is_embedded_by_the_next_run(embedded: Embedded, tmp_path):
    embedded.embed()
    (tmp_path / "photos/b.jpg").write_text("another b")
    run = embedded.choose(embedded.shards(1, 0))
    assert run is not None
    embedded.commit(run, bad=["b.jpg"])
    seal_run(embedded.root, run)
    assert "b.jpg" not in open_features(embedded.root.uri)
    assert embedded.planned(embedded.begin()) == [["b.jpg"]]


def test_what_the_source_had_lost_stays_known(embedded: Embedded, tmp_path: Path):
    embedded.embed()
    (tmp_path / "photos/e.jpg").unlink()
    (tmp_path / "photos/f.jpg").write_text("f")
    embedded.embed()
    run = embedded.choose(embedded.shards(1, 0))
    assert run is not None
    assert run.removed == catalog.run_record(embedded.root, 2).removed
    embedded.commit(run)
    seal_run(embedded.root, run)
    assert open_features(embedded.root.uri).removed["image_id"].to_pylist() == ["e.jpg"]


# Open runs


def test_an_open_run_without_damage_is_finished_first(embedded: Embedded, tmp_path: Path):
    embedded.embed()
    broken = embedded.shards(1, 0)
    (tmp_path / "photos/f.jpg").write_text("f")
    open_run = embedded.begin()
    assert embedded.choose(broken) == open_run
    embedded.commit(open_run)
    seal_run(embedded.root, open_run)
    after = embedded.choose(broken)
    assert after is not None
    assert (after.run, embedded.planned(after)) == (3, [["a.jpg", "b.jpg"]])


def test_an_open_run_that_is_complete_is_sealed_without_its_broken_shards_which_are_then_repaired(embedded: Embedded):
    run = embedded.begin()
    embedded.commit(run)
    broken = embedded.shards(1, 1)
    Path(embedded.root.uri_of(next(iter(broken[1])))).unlink()
    assert verify(embedded.root, "sizes").broken_shards == broken
    after = embedded.choose(broken)
    assert after is not None
    assert (after.run, embedded.planned(after)) == (2, [["c.jpg", "d.jpg"]])
    quarantine = open_features(embedded.root.uri).quarantine.to_pylist()
    assert [(row["image_id"], row["error_type"], row["error_class"]) for row in quarantine] == [
        (name, "ShardDamaged", "transient") for name in ("c.jpg", "d.jpg")
    ]
    embedded.commit(after)
    seal_run(embedded.root, after)
    assert verify(embedded.root, "full").findings == []
    assert sorted(open_features(embedded.root.uri).image_ids) == NAMES


def test_an_open_run_whose_audit_fails_is_sealed_by_a_repair_only_if_that_is_accepted(embedded: Embedded):
    run = embedded.begin()
    embedded.commit(run, audit=(AuditRow(image_id="a.jpg", errors={"embedding": 0.5}),))
    broken = embedded.shards(1, 1)
    with pytest.raises(AuditFailedError, match=r"run\.accept_audit=true"):
        embedded.choose(broken)
    assert catalog.run_end(embedded.root, 1) is None
    after = embedded.choose(broken, accept_audit=True)
    assert after is not None
    assert (after.run, embedded.planned(after)) == (2, [["c.jpg", "d.jpg"]])


def test_a_repair_that_was_killed_between_seal_and_claim_goes_on(embedded: Embedded):
    run = embedded.begin()
    embedded.commit(run)
    seal_run(embedded.root, run, damaged_units=frozenset({0}))
    report = verify(embedded.root, "full")
    assert [finding.kind for finding in report.findings] == ["given-up"]
    after = embedded.choose({})
    assert after is not None
    assert embedded.planned(after) == [["a.jpg", "b.jpg"]]


def test_an_open_run_that_is_not_complete_is_to_be_finished_before_its_broken_shards_are_repaired(embedded: Embedded):
    run = embedded.begin()
    embedded.commit(run, [0, 2])
    with pytest.raises(RunIncompleteError, match=r"is not complete \(1 of its 3 units are left\)"):
        embedded.choose(embedded.shards(1, 0))
    assert catalog.run_end(embedded.root, 1) is None


def test_an_open_run_of_another_source_is_not_touched(embedded: Embedded, configure, tmp_path: Path):
    embedded.embed()
    (tmp_path / "others").mkdir()
    (tmp_path / "others/x.jpg").write_text("x")
    source = {"kind": "directory", "uri": str(tmp_path / "others"), "suffixes": [".jpg"]}
    Embedded(configure(source=source)).begin()
    with pytest.raises(RunConflictError, match="embeds another source"):
        embedded.choose(embedded.shards(1, 0))
    abandon_run(embedded.root, 2)
    assert embedded.choose(embedded.shards(1, 0)) is not None


def test_other_settings_are_refused_before_anything_is_sealed_or_claimed(embedded: Embedded, configure):
    embedded.commit(embedded.begin())
    broken = embedded.shards(1, 0)
    other = Embedded(configure(model={"name": "hiera_debug", "checkpoint": "random:7", "overrides": []}))
    with pytest.raises(RunConflictError, match=r"weights\.seed: 0 -> 7"):
        other.choose(broken)
    assert catalog.run_end(embedded.root, 1) is None


# What is refused, and what is nothing to do


def test_tables_that_no_image_can_bring_back_are_refused_by_name(embedded: Embedded, configure):
    manifest = embedded.embed()
    for file in (manifest.index, manifest.quarantine):
        flip_byte(Path(embedded.root.uri_of(file.name)), 40)
    before = {path: path.read_bytes() for path in Path(embedded.root.uri).rglob("*") if path.is_file()}
    with pytest.raises(FeatureSetError, match="cannot mend") as caught:
        repair(configure())
    for file in (manifest.index, manifest.quarantine):
        assert f"{file.name} has other bytes than were written" in str(caught.value)
    assert "restore it from a backup" in str(caught.value)
    assert {path: path.read_bytes() for path in Path(embedded.root.uri).rglob("*") if path.is_file()} == before


def test_a_lost_commit_of_a_sealed_run_is_no_reason_to_refuse(embedded: Embedded):
    embedded.embed()
    Path(embedded.root.uri_of(paths.commit(1, 0))).unlink()
    report = verify(embedded.root, "full")
    assert [finding.kind for finding in report.findings] == ["commit"]
    require_repairable(report)


def test_nothing_broken_is_said_and_nothing_is_written(embedded: Embedded, configure, tmp_path: Path):
    embedded.embed()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    done = repair(configure(level="sizes"))
    assert done.runs == ()
    assert done.text().startswith(f"nothing to repair in {tmp_path}/features (looked at level sizes)")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_the_plan_of_a_repair_is_typed_as_every_plan(embedded: Embedded):
    embedded.embed()
    run = embedded.choose(embedded.shards(1, 0))
    assert run is not None
    assert catalog.read_table(embedded.root, run.plan).schema.equals(PLAN)

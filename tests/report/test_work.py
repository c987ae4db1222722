"""What units wrote down comes together: rates, pauses between commands, and causes that add up to the wall time."""

import pyarrow as pa
import pytest

from pipeline.featureset.index import shards_table
from pipeline.featureset.records import CommitRecord, TableFile, UnitWork
from pipeline.featureset.schema import SHARD_FILE
from pipeline.report.work import work_of
from tests.report.pictured import unit_work


def table(*works: UnitWork | None) -> pa.Table:
    """Shards of six images each, whose units say this of their work."""
    commits = [
        CommitRecord(
            run=1,
            unit=unit,
            token="t",  # noqa: S106
            fingerprint="f",
            shard=TableFile(name=f"shards/{unit}", num_rows=6, size_bytes=1, sha256="0"),
            quarantine=(),
            work=work,
        )
        for unit, work in enumerate(works)
    ]
    return shards_table(commits)


def test_one_encoder_has_images_spread_over_its_units_and_all_of_its_time():
    work = work_of(1, table(unit_work(0), unit_work(1), unit_work(2)))
    assert work is not None
    assert (work.num_images, work.wall_s) == (18, 35)
    assert sum(work.rates) * work.bin_s == pytest.approx(18)
    steady = [rate for number, rate in enumerate(work.rates) if number * work.bin_s > 5]
    assert steady == pytest.approx([0.6] * len(steady))
    assert work.rates[:6] == [0] * 6
    (encoder,) = work.encoders
    assert encoder.name == "encoder 1"
    assert sum(encoder.seconds.values()) == pytest.approx(35)
    assert work.seconds["start"] == 5  # a second until it began
    assert work.advice.startswith("upload (")


def test_a_pause_between_commands_is_no_working_time_and_each_encoder_has_its_end():
    work = work_of(
        1,
        table(
            unit_work(0, "first"),
            unit_work(1, "first", "other", place=0),
            unit_work(2, "first", place=1),
            unit_work(3, "again", "third", began=90_000, place=0),
        ),
    )
    assert work is not None
    assert work.wall_s == 25 + 15
    assert work.begins_s == [0, 25]
    assert [encoder.name for encoder in work.encoders] == [
        "command 1, encoder 1",
        "command 1, encoder 2",
        "command 2, encoder 1",
    ]
    assert [sum(encoder.seconds.values()) for encoder in work.encoders] == pytest.approx([25, 25, 15])
    assert [encoder.seconds["end"] for encoder in work.encoders] == [0, 10, 0]
    assert sum(work.rates) * work.bin_s == pytest.approx(24)


def test_executions_of_one_command_one_after_the_other_count_each_for_itself():
    parts = [unit_work(0, "one", "early", place=0), unit_work(1, "one", "late", began=1015, place=0)]
    work = work_of(1, table(*parts))
    assert work is not None
    assert [sum(each.seconds.values()) for each in work.encoders] == pytest.approx([15, 15])
    assert work.wall_s == 30


def test_two_commands_at_once_share_their_time():
    work = work_of(1, table(unit_work(0, "one"), unit_work(1, "two", "b", began=1005, place=0)))
    assert work is not None
    assert work.wall_s == 20
    assert sum(work.rates) * work.bin_s == pytest.approx(12)


def test_a_cause_of_a_later_version_is_not_lost():
    work = unit_work(0)
    later = work.model_copy(update={"account": {**work.account, "compute": 6.0, "dreaming": 2.0}})
    found = work_of(1, table(later))
    assert found is not None
    assert found.seconds["wait"] == 2
    assert sum(found.seconds.values()) == pytest.approx(15)


def test_runs_that_wrote_nothing_down_have_no_work():
    assert work_of(1, table(None, None)) is None
    assert work_of(1, table(None).select(SHARD_FILE)) is None

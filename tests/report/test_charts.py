"""Coordinates stay within the chart, ticks are round, and segments fill the bar."""

import pytest

from pipeline.report.charts import causes, causes_table, throughput, ticks
from pipeline.report.work import CAUSES, Encoder, Work


@pytest.mark.parametrize(
    ("greatest", "expected"),
    [
        (0, [0, 1]),
        (1, [0, 0.5, 1]),
        (3.7, [0, 1, 2, 3, 4]),
        (0.012, [0, 0.005, 0.01, 0.015]),
        (880, [0, 500, 1000]),
        (1000, [0, 500, 1000]),
    ],
)
def test_ticks_are_round_and_reach_the_greatest(greatest: float, expected: list[float]):
    assert ticks(greatest) == pytest.approx(expected)


def encoder(name: str = "encoder 1", **seconds: float) -> Encoder:
    return Encoder(name, {**dict.fromkeys(CAUSES, 0.0), **seconds})


def test_bars_lie_within_the_chart_and_axes_name_their_unit():
    work = Work(1, 600, wall_s=600, bin_s=300, rates=[0.5, 1.5], begins_s=[0, 300], encoders=[])
    chart = throughput(work)
    assert [(left, width) for left, width, _ in chart["bars"]] == [(0, 0.5), (0.5, 0.5)]
    assert [height for _, _, height in chart["bars"]] == pytest.approx([1 / 3, 1])
    assert (chart["x_unit"], chart["x_ticks"][-1].label, chart["x_ticks"][-1].place) == ("minutes", "10", 1)
    assert (chart["mean"].label, chart["mean"].place) == ("1", pytest.approx(2 / 3))
    assert chart["begins"] == [0.5]


def test_a_run_of_no_time_has_a_chart_too():
    chart = throughput(Work(1, 0, wall_s=0, bin_s=1, rates=[0.0], begins_s=[0.0], encoders=[]))
    assert chart["bars"] == [(0, 1, 0)]
    assert chart["x_ticks"] == []


def test_segments_fill_the_bar_and_many_encoders_are_one():
    (bar,) = causes([encoder(compute=6, upload=3, start=1)])
    assert [(each["cause"], each["left"], each["width"]) for each in bar["segments"]] == [
        ("compute", 0, pytest.approx(0.6)),
        ("upload", pytest.approx(0.6), pytest.approx(0.3)),
        ("start", pytest.approx(0.9), pytest.approx(0.1)),
    ]
    (together,) = causes([encoder(f"encoder {number}", compute=1, fetch=1) for number in range(40)])
    assert (together["name"], together["wall_s"]) == ("all 40 encoders", 80)
    assert sum(each["width"] for each in together["segments"]) == pytest.approx(1)


def test_the_table_has_what_took_time_greatest_first():
    table = causes_table({"compute": 3.0, "upload": 6.0, "wait": 0.0, "start": 1.0})
    assert [(row["cause"], row["share"]) for row in table] == [("upload", 0.6), ("compute", 0.3), ("start", 0.1)]
    assert table[0]["meaning"] == "waiting for the store or disk that features go to"

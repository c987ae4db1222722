"""Amounts as people read them."""

import pytest

from pipeline.observability.amounts import counted, dollar_text, rate_text, size_text, table_lines, time_text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (44_042_231, "44.0 MB"),
        (352_000_000, "352 MB"),
        (999_960_000, "1.0 GB"),
        (44e12, "44.0 TB"),
        (44e15, "44.0 PB"),
        (44e18, "44,000 PB"),
    ],
)
def test_sizes_have_three_figures_in_units_of_a_thousand(size_bytes, text):
    assert size_text(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (119, "119 s"), (3_600, "60 min"), (36_000, "10 h"), (5e8, "5,787.0 days")]
)
def test_times_are_in_the_unit_that_suits_them(seconds, text):
    assert time_text(seconds) == text


@pytest.mark.parametrize(
    ("dollars", "text"),
    [(0, "$0.00"), (0.001, "under $0.01"), (0.1, "$0.10"), (101_432.1, "$101,432")],
)
def test_cents_are_told_where_they_count(dollars, text):
    assert dollar_text(dollars) == text


def test_counts_rates_and_tables():
    assert (counted(1, "file"), counted(12_000, "file")) == ("1 file", "12,000 files")
    assert (rate_text(2230.1), rate_text(1.764)) == ("2,230", "1.76")
    assert table_lines([("a", "1"), ("bcd", "20")], "<>") == ["a      1", "bcd   20"]

"""Summary: the counts add up on one line, and the last line is a command that works."""

import ast

import pytest

from pipeline.observability.summary import RunSummary


def summary(**changes: object) -> RunSummary:
    facts: dict[str, object] = {
        "uri": "/data/features",
        "model": "sam2.1_hiera_tiny",
        "checkpoint": "sam2.1_hiera_tiny.pt",
        "run": 2,
        "num_planned": 10,
        "num_embedded": 7,
        "num_quarantined": 3,
        "num_shards": 2,
        "size_bytes": 21_000_000,
        "wall_s": 12.34,
        "num_encoders": 4,
        "seconds": {"fetch": 1.25, "encode": 8.0},
        "quarantined": {"TruncatedImage": 2, "NotAnImage": 1},
        "audit": "4 images again in fp32",
    }
    return RunSummary(**{**facts, **changes})  # type: ignore[arg-type]


def test_the_summary_tells_counts_reasons_bytes_and_seconds():
    assert summary().text().splitlines()[:-1] == [
        "sealed run 2 of /data/features in 12.3 s",
        "  images     10 planned = 7 embedded + 3 quarantined (2 TruncatedImage, 1 NotAnImage)",
        "  model      sam2.1_hiera_tiny, weights sam2.1_hiera_tiny.pt",
        "  on disk    21.0 MB in 2 shards, 3.0 MB an image",
        "  audit      4 images again in fp32",
        "  seconds    fetch 1.2, encode 8.0 (added up over workers; 4 encoders)",
    ]


@pytest.mark.parametrize("uri", ["/data/features", "/data/my photos", "/it's/$HOME/`x`", '/a"b\\c', "/é😀\n"])
def test_the_last_line_opens_the_set_whatever_its_place_is_called(uri: str):
    line = summary(uri=uri).text().rpartition("  in Python  ")[2]
    (place,) = [node for node in ast.walk(ast.parse(line)) if isinstance(node, ast.Constant)]
    assert place.value == uri


def test_a_run_of_nothing_but_bad_images_needs_no_average():
    text = summary(num_embedded=0, num_quarantined=10, num_shards=0, size_bytes=0).text()
    assert "10 planned = 0 embedded + 10 quarantined" in text
    assert "0 B in 0 shards\n" in text


def test_a_run_without_bad_images_gives_no_reasons():
    text = summary(num_embedded=10, num_quarantined=0, quarantined={}).text()
    assert "10 planned = 10 embedded + 0 quarantined\n" in text


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"num_removed": 1}, "; 1 image of earlier runs gone from the source"),
        ({"num_removed": 1200}, "; 1,200 images of earlier runs gone from the source"),
        ({"num_ignored": 1}, "; 1 file passed over by name"),
        ({"num_ignored": 3, "num_removed": 2}, "; 3 files passed over by name; 2 images of earlier runs gone"),
    ],
)
def test_what_a_listing_showed_besides_is_told(changes: dict[str, int], told: str):
    line = next(line for line in summary(**changes).text().splitlines() if line.startswith("  images"))
    assert told in line, line


def test_nothing_to_do_says_so_and_that_nothing_was_read():
    text = summary(run=None, num_planned=1200).text()
    assert text.startswith("nothing to do: every image of the source is already in /data/features")
    assert "no image was read" in text
    text = summary(run=None, num_quarantined=3).text()
    assert "already in /data/features, 3 of them as quarantine" in text


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_500_000, "1.5 MB"),
        (2 * 10**9, "2.0 GB"),
        (5 * 10**15, "5.0 PB"),
    ],
)
def test_bytes_are_shown_in_a_unit_that_suits_them(size_bytes: int, shown: str):
    assert f"on disk    {shown} in 2 shards" in summary(size_bytes=size_bytes).text()


def test_it_says_where_the_encoders_time_went_and_what_to_change():
    lines = summary(account={"compute": 30.0, "decode": 10.0}).text().splitlines()
    assert "  encoders   compute 75%, decode 25% of 10.0 s, 4 encoders" in lines
    assert any(line.startswith("  to change  decode (waiting for images to be decoded") for line in lines)


def test_a_report_has_a_line_of_its_own():
    assert "report" not in summary().text()
    assert "  report     /data/features/report.html\n" in summary(report="/data/features/report.html").text()

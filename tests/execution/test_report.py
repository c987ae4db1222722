"""The report at the end of a run: written, or one warning, whatever the trouble is."""

from pathlib import Path

import pytest

from pipeline.execution.report import report_at_end
from tests.vector_set import VectorSet, gaussian, names


def vectors(place: Path) -> VectorSet:
    made = VectorSet(place)
    made.embed_vectors(names(3), gaussian(3))
    return made


def test_it_is_beside_the_readme(tmp_path: Path):
    made = vectors(tmp_path / "set")
    assert report_at_end(made.root, None) == str(tmp_path / "set/report.html")
    assert (tmp_path / "set/report.html").exists()


def test_trouble_is_one_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    made = vectors(tmp_path / "set")
    (tmp_path / "set/report.html").mkdir()
    assert report_at_end(made.root, None) == ""
    said = capsys.readouterr()
    assert (said.out + said.err).count("\n") == 1
    assert "the run is sealed, but there is no report of it" in said.out + said.err


def test_a_huge_set_is_left_to_the_job(tmp_path: Path):
    made = vectors(tmp_path / "set")
    said = report_at_end(made.root, None, most_rows=2)
    assert said.startswith(f"jobs/report.py sink.uri={made.uri} writes it; 3 images")
    assert not (tmp_path / "set/report.html").exists()

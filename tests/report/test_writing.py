"""A report goes where it belongs, replaces the one before, and breaks no feature set."""

import subprocess
import sys
from pathlib import Path

import pytest

import pipeline
from pipeline.errors import ConfigError, FeatureSetError, SinkError
from pipeline.maintenance.orphans import Orphans
from pipeline.maintenance.verify import verify
from pipeline.report.contents import ReportSize
from pipeline.report.writing import write_report
from tests.conftest import REPOSITORY
from tests.vector_set import VectorSet, gaussian, names

SIZE = ReportSize(10, 2)


def vectors(place: Path | str) -> VectorSet:
    made = VectorSet(place)
    made.embed_vectors(names(3), gaussian(3))
    return made


def test_it_goes_beside_the_readme_again_and_again_and_nothing_minds(tmp_path: Path):
    made = vectors(tmp_path / "set")
    for _ in range(2):
        place = write_report(made.root, SIZE, dollars_per_gb_month=0.02)
    assert place == str(tmp_path / "set/report.html")
    assert Path(place).read_text().startswith("<!doctype html>")
    assert not verify(made.root, "full").findings
    assert list(Orphans(made.root).find(older_than_s=-60)) == []
    assert len(pipeline.open_features(made.uri)) == 3


def test_a_set_in_a_bucket_has_it_in_the_bucket(store):
    made = vectors(f"s3://{store.bucket}/set")
    assert write_report(made.root, SIZE, dollars_per_gb_month=0.02) == f"{made.uri}/report.html"
    assert b"<title>SAM 2 features: set</title>" in made.root.read("report.html")


def test_it_goes_where_it_is_asked_for_or_says_why_not(tmp_path: Path):
    made = vectors(tmp_path / "set")
    place = write_report(made.root, SIZE, dollars_per_gb_month=0.02, output=str(tmp_path / "to/page.html"))
    assert place == str(tmp_path / "to/page.html")
    assert not (tmp_path / "set/report.html").exists()
    with pytest.raises(ConfigError, match="not on local disk"):
        write_report(made.root, SIZE, dollars_per_gb_month=0.02, output="s3://b/page.html")
    with pytest.raises(SinkError, match="cannot write"):
        write_report(made.root, SIZE, dollars_per_gb_month=0.02, output=f"{place}/below_a_file.html")


def test_a_damaged_index_is_refused_and_the_report_before_stays(tmp_path: Path):
    made = vectors(tmp_path / "set")
    place = Path(write_report(made.root, SIZE, dollars_per_gb_month=0.02))
    before = place.read_bytes()
    (index,) = (tmp_path / "set/runs/000001").glob("index-*")
    index.write_bytes(index.read_bytes()[:-20])
    with pytest.raises(FeatureSetError, match="damaged"):
        write_report(made.root, SIZE, dollars_per_gb_month=0.02)
    assert place.read_bytes() == before


def test_the_job_says_where_and_refuses_in_one_line(tmp_path: Path):
    made = vectors(tmp_path / "set")

    def run(*overrides: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "jobs/report.py", *overrides]
        return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)

    done = run(f"sink.uri={made.uri}", "images=2", f"output={tmp_path / 'a (1).html'}")
    assert (done.returncode, done.stdout) == (0, f"report: {tmp_path / 'a (1).html'}\n"), done
    assert "A sample of 2 of 3 images" in (tmp_path / "a (1).html").read_text()
    done = run(f"sink.uri={tmp_path / 'nothing'}")
    assert (done.returncode, done.stderr.count("\n")) == (65, 1), done

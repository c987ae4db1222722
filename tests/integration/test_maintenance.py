"""A feature set that came to harm: found, named, repaired and cleaned by the commands that people use."""

import subprocess
import sys
from pathlib import Path

import pytest

import pipeline
from pipeline.maintenance.verify import verify
from pipeline.storage.folder import Folder
from tests.conftest import REPOSITORY
from tests.small_set import flip_byte

pytestmark = pytest.mark.cluster


def run(job: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a job as people do."""
    command = [sys.executable, f"jobs/{job}.py", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=200, check=False)


def test_a_flipped_and_a_lost_shard_are_found_named_and_embedded_again(
    start_locally, expect_features, make_photos, tmp_path: Path
):
    folder, sink = tmp_path / "photos", tmp_path / "features"
    names = make_photos(folder, 12)
    command = [f"source.uri={folder}", "model=hiera_debug", "model.checkpoint=random", f"sink.uri={sink}"]
    command.append("execution.images_per_unit=3")
    first = start_locally(*command).finish()
    assert first.code == 0, str(first)

    shards = sorted((sink / "shards/000001").iterdir())
    flipped, lost = shards[1], shards[3]
    flip_byte(flipped, flipped.stat().st_size // 2)
    lost.unlink()
    found = run("verify", f"sink.uri={sink}", "level=full")
    assert found.returncode == 65, found
    told = {path: [line for line in found.stdout.splitlines() if path.name in line] for path in (flipped, lost)}
    assert ["other bytes than were committed; hit: row" in line for line in told[flipped]] == [True], found.stdout
    assert ["is missing; jobs/repair.py" in line for line in told[lost]] == [True], found.stdout
    assert found.stderr == f"error: {sink} is not whole: 2 findings, listed above\n"

    repaired = run("repair", *command)
    assert repaired.returncode == 0, repaired
    assert "run 2: 6 of 6 images to embed, in 2 units" in repaired.stderr
    assert f"sealed run 2 of {sink}" in repaired.stdout
    assert "6 planned = 6 embedded + 0 quarantined" in repaired.stdout
    expect_features(sink, folder, names)
    assert not {str(flipped), str(lost)} & set(pipeline.open_features(sink).files)
    report = verify(Folder(sink), "full")
    assert report.findings == []
    assert {finding.file for finding in report.superseded} == {str(path.relative_to(sink)) for path in (flipped, lost)}

    cleaned = run("clean", f"sink.uri={sink}", "older_than_hours=1", "--yes")
    assert (cleaned.returncode, cleaned.stdout.splitlines()[0]) == (0, "0 orphans, 0 bytes: nothing to delete"), cleaned
    assert "Traceback" not in found.stderr + repaired.stderr + cleaned.stderr

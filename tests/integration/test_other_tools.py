"""The programs of docs/reading.md as they stand there, on a set written by the real sinks: all give the same map."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pipeline
from pipeline.featureset.maps import MapSpec
from tests.conftest import REPOSITORY
from tests.small_set import COARSE, FINE, SmallSet, map_values

MAPS = (FINE, COARSE, MapSpec("fpn_2", 2, (8, 64, 64), "float16", 16))
IMAGE = "coffee.png"
SECTIONS = (REPOSITORY / "docs/reading.md").read_text().split("\n## ")[1:]
PROGRAMS = {section.partition("\n")[0]: re.search("```python\n(.+?)```", section, re.DOTALL)[1] for section in SECTIONS}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder in which a program of the document finds its feature set."""
    SmallSet(tmp_path / "outputs/features", MAPS).embed(
        [["astronaut.png", IMAGE], ["bad.png", "rocket.jpg"]], bad=["bad.png"]
    )
    return tmp_path


def run(program: str, folder: Path, environment: dict[str, str]) -> np.ndarray:
    """The map that a program of the document ends with."""
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport numpy\nnumpy.save('level.npy', level_HWC)"],
        cwd=folder,
        env={**environment, "HOME": str(folder), "PYTHONPATH": str(REPOSITORY)},  # caches go below home
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return np.load(folder / "level.npy")


def check(level_HWC: np.ndarray, folder: Path) -> None:
    """It is what was written, and what the reader gives."""
    assert level_HWC.dtype == np.float16
    np.testing.assert_array_equal(level_HWC, map_values(IMAGE, MAPS[2]).astype("float16"))
    row = pipeline.open_features(folder / "outputs/features")[IMAGE]
    np.testing.assert_array_equal(level_HWC.transpose(2, 0, 1), row.maps["fpn_2"])


def test_the_document_shows_every_tool():
    shown = ["This package", "torch", "DuckDB", "Polars", "pandas", "Hugging Face datasets", "Ray Data"]
    assert list(PROGRAMS) == ["What lies in the files", *shown]


@pytest.mark.parametrize("tool", [each for each in PROGRAMS if each != "Ray Data"])
def test_a_program_of_the_document_gives_the_map_of_an_image(tool: str, folder: Path):
    environment = {
        "HF_HOME": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(REPOSITORY),
        "HOME": str(folder),
    }
    check(run(PROGRAMS[tool], folder, environment), folder)


@pytest.mark.cluster
def test_ray_data_gives_the_map_of_an_image(folder: Path, ray_head: dict[str, str]):
    check(run(PROGRAMS["Ray Data"], folder, ray_head), folder)

"""jobs/segment.py on a set that jobs/embed.py wrote: two pictures, and errors that say what to do."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import CheckpointError, ConfigError, FeatureSetError, ImageNotFoundError
from pipeline.exports.segment import _pixels, segment
from pipeline.readers.row import FeatureRow
from tests.conftest import REPOSITORY
from tests.parity.whole_model import save_whole_model
from tests.small_set import SmallSet

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the module: photos, checkpoint, features."""
    return tmp_path_factory.mktemp("segment")


@pytest.fixture
def features(place: Path, start_locally, make_photos) -> str:
    """A set of three photographs by the toy encoder of a whole model."""
    sink = place / "features"
    if not sink.exists():
        make_photos(place / "photos", 3)
        checkpoint = save_whole_model(place / "model.pt", "hiera_debug")
        job = start_locally(
            f"source.uri={place / 'photos'}",
            "model=hiera_debug",
            f"model.checkpoint={checkpoint}",
            "features=decoder",
            f"sink.uri={sink}",
        ).finish()
        assert job.code == 0, str(job)
    return str(sink)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "jobs/segment.py", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=100, check=False)


def test_a_command_writes_a_mask_and_an_overlay(features: str, place: Path, tmp_path: Path):
    output = tmp_path / "new folder" / "mask"
    done = run(
        f"features.uri={features}",
        "image_id=00001.jpg",
        "point=[[48,32],[40,30]]",
        "background=[1,1]",
        f"model.checkpoint={place / 'model.pt'}",
        f"output={output}",
    )
    assert done.returncode == 0, done
    assert done.stdout.startswith("mask of "), done
    mask = np.asarray(Image.open(output.with_name("mask.png")))
    assert mask.shape == (64, 96)
    assert set(np.unique(mask)) <= {0, 255}
    overlay = np.asarray(Image.open(output.with_name("mask_overlay.png")))
    photo = np.asarray(Image.open(place / "photos/00001.jpg"))
    beside = mask == 0
    beside[:10, :10] = beside[24:40, 34:56] = False  # where the points are drawn
    np.testing.assert_array_equal(overlay[beside], photo[beside])
    assert (overlay != photo).any()


def test_an_image_that_is_gone_is_grey_under_its_mask(features: str, place: Path, tmp_path: Path):
    gone = place / "photos/00002.jpg"
    gone.unlink(missing_ok=True)
    found = segment(
        features, "00002.jpg", points=[(48, 32)], checkpoint=str(place / "model.pt"), output=tmp_path / "mask"
    )
    overlay, mask = np.asarray(Image.open(found.overlay)), np.asarray(Image.open(found.mask))
    assert tuple(overlay[mask == 0][-1]) == (128, 128, 128)
    assert found.share == pytest.approx((mask == 255).mean())


@pytest.mark.parametrize("uri", ["https://images.example/a.png", "ftp://b/a.png"])
def test_an_image_that_may_not_be_read_is_grey_too(uri: str):
    row = FeatureRow("a", uri, (2, 3), {}, tuple, np.zeros(0, np.float32).copy)
    np.testing.assert_array_equal(_pixels(row), np.full((2, 3, 3), 128, np.uint8))


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"points": []}, ConfigError, r"point=\[320,240\]"),
        ({"points": [(97, 1)]}, ConfigError, "outside 00000.jpg.* 96 x 64"),
        ({"image_id": "0000.jpg"}, ImageNotFoundError, "did you mean .*'00000.jpg'"),
        ({"checkpoint": None}, ConfigError, "model.checkpoint is not set: the features were made with"),
        ({"checkpoint": "random"}, CheckpointError, "but the features were made with checkpoint sha256"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    features: str, place: Path, tmp_path: Path, change: dict, error: type[Exception], said: str
):
    given = {"image_id": "00000.jpg", "points": [(1, 1)], "checkpoint": str(place / "model.pt"), **change}
    with pytest.raises(error, match=said):
        segment(features, given.pop("image_id"), output=tmp_path / "mask", **given)
    assert list(tmp_path.iterdir()) == []


def test_a_set_of_other_features_says_which_are_wanted(tmp_path: Path):
    small = SmallSet(tmp_path / "set")
    small.embed([["a"]])
    with pytest.raises(FeatureSetError, match="embed with features=decoder"):
        segment(small.uri, "a", points=[(1, 1)], output=tmp_path / "mask")


def test_a_command_without_an_image_is_one_line(features: str):
    done = run(f"features.uri={features}", "point=[1,1]")
    assert done.returncode == 64, done
    assert done.stderr.count("\n") == 1
    assert "image_id" in done.stderr

"""What a report says is what the set holds."""

from pathlib import Path

import numpy as np
import pytest

import pipeline
from pipeline.errors import FeatureSetError
from pipeline.featureset.maps import MapSpec
from pipeline.report.contents import ReportSize, contents
from pipeline.storage.folder import Folder
from tests.report.pictured import PicturedSet
from tests.small_set import SmallSet
from tests.vector_set import VectorSet, gaussian, names


@pytest.fixture(scope="module")
def told(pictured: PicturedSet):
    return contents(pictured.root, ReportSize(20, 5, 4), dollars_per_gb_month=0.02)


def test_counts_are_those_of_the_set(told, pictured: PicturedSet):
    features = pipeline.open_features(pictured.uri)
    assert (told["num_images"], told["num_quarantined"]) == (len(features), 2) == (25, 2)
    assert (told["num_shown"], len(told["gallery"]), len(told["sheets"])) == (20, 5, 1)
    assert sum(reason["count"] for reason in told["reasons"]) == 2
    data = told["data"]
    assert len(data["ids"]) == len(data["x"]) == len(data["widths"]) == 20
    assert [features.image_ids.index(each) for each in data["ids"]] == np.linspace(0, 24, 20).round().tolist()


def test_neighbours_are_those_of_the_stored_vectors(told, pictured: PicturedSet):
    table = pipeline.open_features(pictured.uri).pooled
    vectors = dict(zip(table["image_id"].to_pylist(), table["embedding"].to_pylist(), strict=True))
    shown = np.array([vectors[each] for each in told["data"]["ids"]])
    similarities = shown @ shown.T - 9 * np.eye(len(shown))
    found = np.take_along_axis(similarities, np.array(told["data"]["nearest"]), axis=1)
    np.testing.assert_allclose(found, np.sort(similarities, axis=1)[:, ::-1][:, :4], atol=1e-6)
    np.testing.assert_allclose(told["data"]["similarities"], found, atol=1e-4)


def test_an_image_that_is_gone_is_said_to_be_and_the_gallery_goes_on(told):
    ids = told["data"]["ids"]
    assert {ids[int(number)]: reason for number, reason in told["data"]["missing"].items()} == {
        "gone.jpg": "No such file or directory"
    }
    last = told["gallery"][-1]
    assert (last["image_id"], last["picture"], last["missing"]) == ("gone.jpg", None, "No such file or directory")
    assert [column for column, _, _ in last["levels"]] == ["fpn_0", "fpn_1"]
    assert all(item["picture"] for item in told["gallery"][:-1])


def test_a_cut_off_image_is_shown_as_far_as_it_goes(told):
    pictures = {each["image_id"]: each["picture"] for reason in told["reasons"] for each in reason["examples"]}
    assert pictures["cut_off.jpg"].startswith("data:image/webp")
    assert pictures["no_image.png"] is None


def test_causes_add_up_to_the_whole(told):
    assert sum(row["share"] for row in told["work"]["causes"]) == pytest.approx(1, abs=0.02)
    assert sum(row["seconds"] for row in told["work"]["causes"]) == pytest.approx(told["work"]["wall_s"], rel=0.02)


def test_a_set_of_vectors_alone_has_a_report_too(tmp_path: Path):
    made = VectorSet(tmp_path / "set")
    made.embed_vectors(names(3), gaussian(3))
    found = contents(made.root, ReportSize(10, 2, 4), dollars_per_gb_month=0.02)
    assert (found["levels"], found["work"], found["num_shown"]) == ([], None, 3)
    assert found["num_unreadable"] == 3
    assert [len(each) for each in found["data"]["nearest"]] == [2, 2, 2]


def test_a_set_of_nothing_but_failures_has_one(tmp_path: Path):
    made = SmallSet(tmp_path / "set", (MapSpec("fpn_0", 0, (4, 8, 6), "float16", 4),))
    made.embed([["a", "b"]], bad=["a", "b"])
    found = contents(made.root, ReportSize(10, 2, 4), dollars_per_gb_month=0.02)
    assert (found["num_images"], found["num_quarantined"], found["data"]["ids"]) == (0, 2, [])


def test_what_is_not_sealed_has_none(tmp_path: Path):
    SmallSet(tmp_path / "set")
    with pytest.raises(FeatureSetError, match="not sealed"):
        contents(Folder(tmp_path / "set"), ReportSize(10, 2), dollars_per_gb_month=0.02)

"""Frames of a video: found by the index alone, in order of time whatever the order of rows, read one by one."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import FeatureSetError, ImageNotFoundError
from pipeline.readers.feature_set import open_features
from tests.small_set import SmallSet

IDS = ["b#frame=4", "a#frame=10", "a#frame=2", "b", "a#frame=0"]
CARRIED: dict[str, dict[str, object]] = {
    "video": {image_id: image_id[0] for image_id in IDS},
    "frame": {"b#frame=4": 4, "a#frame=10": 10, "a#frame=2": 2, "b": None, "a#frame=0": 0},
    "timestamp_s": {"b#frame=4": 0.4, "a#frame=10": 1.0, "a#frame=2": 0.2, "b": None, "a#frame=0": 0.0},
}


@pytest.fixture
def small(tmp_path: Path) -> SmallSet:
    small = SmallSet(tmp_path)
    small.embed([IDS[:2], IDS[2:]], bad=["b"], carried=CARRIED)
    return small


def test_frames_come_in_order_of_time(small: SmallSet):
    features = open_features(small.uri)
    frames = features.frames("a")
    assert len(frames) == 3
    assert frames.image_ids == ["a#frame=0", "a#frame=2", "a#frame=10"]
    np.testing.assert_array_equal(frames.numbers, [0, 2, 10])
    np.testing.assert_array_equal(frames.timestamps_s, [0.0, 0.2, 1.0])
    assert [row.image_id for row in frames] == frames.image_ids
    assert [row.extra["timestamp_s"] for row in frames] == [0.0, 0.2, 1.0]
    assert frames[-1].image_id == "a#frame=10"
    assert [row.image_id for row in frames[1:]] == frames.image_ids[1:]
    np.testing.assert_array_equal(frames[1].maps["fpn_1"], features["a#frame=2"].maps["fpn_1"])
    with pytest.raises(IndexError):
        _ = frames[3]


def test_the_index_is_enough_to_find_them(small: SmallSet):
    for shard in Path(small.uri).glob("shards/*/*"):
        shard.unlink()
    frames = open_features(small.uri).frames("b")
    assert frames.image_ids == ["b#frame=4"]
    with pytest.raises(FeatureSetError):
        _ = frames[0]


def test_a_later_run_s_frame_counts(small: SmallSet):
    small.embed([["a#frame=2", "a#frame=4"]], version="2", carried={
        "video": {"a#frame=2": "a", "a#frame=4": "a"},
        "frame": {"a#frame=2": 2, "a#frame=4": 4},
        "timestamp_s": {"a#frame=2": 0.2, "a#frame=4": 0.4},
    })  # fmt: skip
    assert open_features(small.uri).frames("a").numbers.tolist() == [0, 2, 4, 10]


def test_what_is_no_video_is_told(small: SmallSet, tmp_path: Path):
    with pytest.raises(ImageNotFoundError, match=r"no frame of 'c' is here; the first videos are 'b', 'a'"):
        open_features(small.uri).frames("c")
    plain = SmallSet(tmp_path / "plain")
    plain.embed([["a"]])
    with pytest.raises(ImageNotFoundError, match="embed with source=video"):
        open_features(plain.uri).frames("a")


def test_a_column_of_that_name_makes_no_video(tmp_path: Path):
    listed = SmallSet(tmp_path)
    listed.embed([["a"]], carried={"video": {"a": "holiday.mp4"}})
    with pytest.raises(ImageNotFoundError, match="embed with source=video"):
        open_features(listed.uri).frames("holiday.mp4")

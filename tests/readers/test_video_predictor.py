"""SAM 2's video predictor on stored frames: a state like `init_state`'s, read frame by frame.

That SAM 2's own predictor gives the same masks with it is shown in tests/integration/test_videos.py.
"""

from pathlib import Path

import pytest
import torch

from pipeline.errors import FeatureSetError
from pipeline.featureset.maps import MapSpec
from pipeline.readers.feature_set import FeatureSet, open_features
from pipeline.readers.predictors import frame_features
from pipeline.readers.video_predictor import video_state
from tests.small_set import SmallSet, original_size

SHAPES = {"high_res_0": (3, 8, 8), "high_res_1": (4, 4, 4), "fpn_2": (2, 2, 2)}
IDS = ["a#frame=0", "a#frame=30"]


class Predictor:
    """Holds what SAM 2's video predictor holds."""

    device = torch.device("cpu")


@pytest.fixture
def features(tmp_path: Path) -> FeatureSet:
    maps = tuple(MapSpec(name, level, shape, "float16", 4) for level, (name, shape) in enumerate(SHAPES.items()))
    small = SmallSet(tmp_path / "set", maps=maps, no_mem_embed=(1.0, 2.0))
    carried = {"video": dict.fromkeys(IDS, "a"), "frame": dict(zip(IDS, (0, 30), strict=True))}
    small.embed([IDS], carried={**carried, "timestamp_s": dict(zip(IDS, (0.0, 1.0), strict=True))})
    return open_features(small.uri)


def test_a_state_has_what_forward_image_gives_of_each_frame(features: FeatureSet):
    state = video_state(Predictor(), features.frames("a"))
    assert (state["num_frames"], (state["video_height"], state["video_width"])) == (2, original_size(IDS[0]))
    for place in (1, 0, 1):
        pixels, found = state["cached_features"].get(place, (None, None))
        assert tuple(pixels.expand(5, -1, -1, -1).shape) == (5, 3, 1, 1)
        for name, expected in frame_features(features[IDS[place]]).items():
            torch.testing.assert_close(found[name], expected, rtol=0, atol=0)


def test_the_last_frame_is_kept_and_no_other(features: FeatureSet):
    cached = video_state(Predictor(), features.frames("a"))["cached_features"]
    first = cached.get(0)
    assert cached.get(0) is first
    cached.get(1)
    assert cached.get(0) is not first


def test_rows_of_other_sets_and_no_rows_make_no_state(tmp_path: Path):
    small = SmallSet(tmp_path / "plain")
    small.embed([["a"]])
    with pytest.raises(FeatureSetError, match="embed with features=decoder"):
        video_state(Predictor(), [open_features(small.uri)["a"]])
    with pytest.raises(FeatureSetError, match="without frames"):
        video_state(Predictor(), [])

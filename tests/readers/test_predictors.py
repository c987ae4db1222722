"""Predictors filled from stored features: a stand-in sees what it is given, SAM 2's own gives the same masks."""

# ruff: noqa: SLF001  what SAM 2 calls private is all it has

from pathlib import Path

import pytest
import torch

from pipeline.errors import FeatureSetError
from pipeline.featureset.maps import MapSpec
from pipeline.readers.feature_set import FeatureSet, open_features
from pipeline.readers.predictors import fill_predictor, frame_features, image_embeddings
from tests.parity.whole_model import save_whole_model
from tests.readers.in_sam2 import require_sam2, said_by
from tests.small_set import FINE, SmallSet, original_size

SHAPES = {"high_res_0": (3, 8, 8), "high_res_1": (4, 4, 4), "fpn_2": (2, 2, 2)}


class Predictor:
    """Holds what SAM 2's image predictor holds."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.num_resets = 0

    def reset_predictor(self) -> None:
        self._features = self._orig_hw = None
        self._is_image_set = self._is_batch = False
        self.num_resets += 1


@pytest.fixture
def features(tmp_path: Path) -> FeatureSet:
    maps = tuple(MapSpec(name, level, shape, "float16", 4) for level, (name, shape) in enumerate(SHAPES.items()))
    small = SmallSet(tmp_path / "set", maps=maps, no_mem_embed=(1.0, 2.0))
    small.embed([["a", "bb"]])
    return open_features(small.uri)


def test_one_call_fills_a_predictor_as_set_image_does(features: FeatureSet):
    predictor = Predictor()
    fill_predictor(predictor, features["bb"])
    assert (predictor._is_image_set, predictor._is_batch, predictor.num_resets) == (True, False, 1)
    assert predictor._orig_hw == [original_size("bb")]
    *fine, coarsest = features["bb"].image_embeddings
    torch.testing.assert_close(predictor._features["image_embed"], coarsest[None], rtol=0, atol=0)
    torch.testing.assert_close(predictor._features["high_res_feats"], [level[None] for level in fine], rtol=0, atol=0)


def test_several_rows_fill_it_as_set_image_batch_does(features: FeatureSet):
    predictor = Predictor()
    fill_predictor(predictor, [features["a"], features["bb"]])
    assert predictor._is_batch
    assert predictor._orig_hw == [original_size("a"), original_size("bb")]
    assert tuple(predictor._features["image_embed"].shape) == (2, 2, 2, 2)


def test_rows_become_one_batch_from_fine_to_coarse(features: FeatureSet):
    batch = image_embeddings(features["a"], features["bb"])
    assert [tuple(maps.shape) for maps in batch] == [(2, *shape) for shape in SHAPES.values()]
    torch.testing.assert_close(batch[1][1], features["bb"].image_embeddings[1], rtol=0, atol=0)


def test_a_frame_has_no_mem_embed_not_added(features: FeatureSet):
    frame = frame_features(features["a"])
    torch.testing.assert_close(frame["vision_features"][0], features["a"].backbone_fpn[-1].float(), rtol=0, atol=0)
    assert frame["vision_features"] is frame["backbone_fpn"][-1]
    assert [tuple(encoding.shape[2:]) for encoding in frame["vision_pos_enc"]] == [(8, 8), (4, 4), (2, 2)]


def test_rows_of_other_sets_fill_nothing(tmp_path: Path):
    small = SmallSet(tmp_path / "set", maps=(FINE,))
    small.embed([["a"]])
    row, predictor = open_features(small.uri)["a"], Predictor()
    for use in (frame_features, image_embeddings, lambda each: fill_predictor(predictor, each)):
        with pytest.raises(FeatureSetError, match="embed with features=decoder"):
            use(row)
    assert predictor.num_resets == 0, "what it held, it holds"


@pytest.mark.cluster
def test_sam_2_s_own_predictor_gives_the_masks_that_it_gives_for_the_image(photographs, tmp_path: Path, start_locally):
    require_sam2()
    checkpoint = save_whole_model(tmp_path / "model.pt", "sam2.1_hiera_tiny")
    (tmp_path / "photos").mkdir()
    name = "coffee.png"
    (tmp_path / "photos" / name).symlink_to(photographs[name])
    sink = f"sink.uri={tmp_path / 'features'}"
    job = start_locally(
        f"source.uri={tmp_path / 'photos'}",
        sink,
        "features=decoder",
        f"model.checkpoint={checkpoint}",
        "execution.precision=fp32",
        "run.audit_images=0",
    ).finish()
    assert job.code == 0, str(job)
    said = said_by("sam2_predictor.py", checkpoint, tmp_path / "features", name, photographs[name], cwd=tmp_path)
    assert said["unexpected"] == []
    assert min(said["overlaps"]) >= 0.999, said
    assert len(said["overlaps"]) == 9
    assert all(said["batched"]), said
    assert max(said["frame errors"]) < 5e-4, said

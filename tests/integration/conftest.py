"""What a finished feature set must be, computed the short way: no Ray, no shards, one image at a time."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import pipeline


@pytest.fixture
def expect_features() -> Callable[..., None]:
    """Checks ids and features of a set against the plain encoder on the plain files."""

    def check(sink: Path, folder: Path, names: list[str]) -> None:
        encoder = pipeline.build_encoder("hiera_debug", checkpoint="random")
        features = pipeline.open_features(str(sink))
        assert sorted(features.image_ids) == sorted(names), "an image is missing, twice, or was never planned"
        for name in names:
            expected = encoder(pipeline.preprocess(folder / name, side_px=128)[None])
            row = features[name]
            for level, (stored, own) in enumerate(zip(row.backbone_fpn, expected["backbone_fpn"], strict=True)):
                error = torch.linalg.norm(stored.float() - own[0]) / torch.linalg.norm(own[0])
                assert error < 1e-3, f"{name} level {level}: relative error {error:.2e} is more than float16 makes"
            for stored, own in zip(row.vision_pos_enc, expected["vision_pos_enc"], strict=True):
                np.testing.assert_allclose(stored.numpy(), own[0].numpy(), atol=1e-6)
            pooled = torch.nn.functional.normalize(expected["vision_features"][0].mean(dim=(1, 2)), dim=0)
            np.testing.assert_allclose(row.pooled.numpy(), pooled.numpy(), atol=1e-5)

    return check

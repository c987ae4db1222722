"""fp32 features equal those of the published SAM 2 code, to 1e-4 relative L2 per level."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.model.build import instantiate_encoder, load_encoder_config
from tests.parity.reference_weights import fill, pixels, sample_indices

FOLDER = Path(__file__).parent
CASES = {
    "tiny_1024x1024": [],
    "small_1024x1024": [],
    "tiny_512x512_scalp0": ["scalp=0"],
    "tiny_512x512_avg_bilinear_alltd": [
        "neck.fuse_type=avg",
        "neck.fpn_interp_model=bilinear",
        "neck.fpn_top_down_levels=null",
    ],
}


def relative_l2(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("case", CASES)
def test_features_equal_those_of_the_published_code(case: str):
    size, sides, *_ = case.split("_")
    height, width = (int(side) for side in sides.split("x"))
    encoder = instantiate_encoder(load_encoder_config(f"sam2.1_hiera_{size}", CASES[case]).tree).eval()
    encoder.load_state_dict(fill(encoder.state_dict()), strict=True)
    golden = np.load(FOLDER / f"encoder_{case}.npz")
    with torch.inference_mode():
        output = encoder(pixels(height, width))

    num_levels = sum(name.startswith("fpn") and name.endswith("shape") for name in golden.files)
    assert len(output["backbone_fpn"]) == len(output["vision_pos_enc"]) == num_levels
    assert output["vision_features"] is output["backbone_fpn"][-1]
    for kind, maps in (("fpn", output["backbone_fpn"]), ("pos", output["vision_pos_enc"])):
        for level, actual in enumerate(maps):
            name = f"{kind}_{level}"
            assert tuple(actual.shape) == tuple(golden[f"{name}_shape"]), name
            flat = actual.contiguous().flatten()
            error = relative_l2(flat.numpy()[sample_indices(flat.numel())], golden[f"{name}_values"])
            assert error < 1e-4, f"{name}: relative L2 {error}"
            # The kept values are a sample; the length of the whole map covers the rest of it.
            assert float(flat.double().norm()) == pytest.approx(float(golden[f"{name}_l2"]), rel=1e-4), name

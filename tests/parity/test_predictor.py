"""What `features=decoder` holds equals what SAM 2's own image predictor holds after `set_image`, to 1e-4 in fp32."""

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.data import astronaut

from pipeline.model.build import decoder_inputs, instantiate_encoder, load_encoder_config
from pipeline.model.decoder_inputs import DecoderInputs
from pipeline.model.weights import Weights
from pipeline.preprocessing.transform import preprocess
from tests.parity.reference_weights import fill, sample_indices

GOLDEN = Path(__file__).parent / "predictor_tiny_astronaut.png.npz"


def test_features_equal_those_of_the_published_predictor():
    tree = load_encoder_config("sam2.1_hiera_tiny").tree
    encoder, inputs = instantiate_encoder(tree).eval(), DecoderInputs(256)
    encoder.load_state_dict(fill(encoder.state_dict()), strict=True)
    inputs.load_state_dict(fill(inputs.state_dict(), prefix=""), strict=True)
    inputs.fold_into(encoder)
    golden = np.load(GOLDEN)
    with torch.inference_mode():
        levels = encoder(preprocess(astronaut(), side_px=1024)[None])["backbone_fpn"]
        levels[2] = levels[2] + inputs.no_mem_embed.flatten()[:, None, None]
    for name, actual in zip(("high_res_0", "high_res_1", "image_embed"), levels, strict=True):
        assert tuple(actual.shape) == tuple(golden[f"{name}_shape"]), name
        flat = actual.contiguous().flatten().double()
        expected = golden[f"{name}_values"]
        error = np.linalg.norm(flat.numpy()[sample_indices(flat.numel())] - expected) / np.linalg.norm(expected)
        assert error < 1e-4, f"{name}: relative L2 {error}"
        assert float(flat.norm()) == pytest.approx(float(golden[f"{name}_l2"]), rel=1e-4), name


def test_random_weights_are_the_same_everywhere():
    tree = load_encoder_config("hiera_debug").tree
    first, second = (decoder_inputs(tree, Weights("random", seed=3)).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(float(value.abs().sum()) > 0 for name, value in first.items() if not name.endswith("bias"))

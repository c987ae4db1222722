"""bf16 and fp16 compute stay close to fp32, and give SAM 2's dtypes under autocast."""

import pytest
import torch

from pipeline.model.build import assemble_encoder, load_encoder_config
from pipeline.model.image_encoder import EncoderOutput
from pipeline.model.weights import Weights
from tests.parity.reference_weights import pixels

# Seen on a CPU, worst level: 0.0108 for bf16 and 0.0014 for fp16.
BOUNDS = {"bf16": 0.02, "fp16": 0.003}
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def encode(precision: str) -> EncoderOutput:
    tree = load_encoder_config("hiera_debug", ["scalp=0"]).tree
    encoder = assemble_encoder(tree, Weights("random", seed=0), precision=precision)
    with torch.inference_mode():
        output: EncoderOutput = encoder(pixels(128, 128, batch=2))
    return output


@pytest.mark.parametrize("precision", BOUNDS)
def test_half_precision_deviates_little_from_fp32(precision: str):
    half, full = encode(precision), encode("fp32")
    for level, (actual, expected) in enumerate(zip(half["backbone_fpn"], full["backbone_fpn"], strict=True)):
        error = float((actual.float() - expected).norm() / expected.norm())
        assert 0.0 < error < BOUNDS[precision], f"level {level}: relative L2 {error}"


@pytest.mark.parametrize("precision", BOUNDS)
def test_the_level_with_a_coarser_one_added_is_fp32_and_the_others_are_half(precision: str):
    output = encode(precision)
    half = DTYPES[precision]
    wanted = [half, half, torch.float32, half]
    assert [level.dtype for level in output["backbone_fpn"]] == wanted
    assert [encoding.dtype for encoding in output["vision_pos_enc"]] == wanted


def test_fp32_is_fp32_throughout():
    output = encode("fp32")
    assert {level.dtype for level in [*output["backbone_fpn"], *output["vision_pos_enc"]]} == {torch.float32}

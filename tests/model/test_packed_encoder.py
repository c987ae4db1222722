"""The packed encoder gives what the modules give, image by image, and knows what it is not made for."""

import pytest
import torch

from pipeline.model.build import assemble_encoder, load_encoder_config
from pipeline.model.image_encoder import ImageEncoder
from pipeline.model.packed_encoder import PackedEncoder
from pipeline.model.packed_linear import can_pack
from pipeline.model.weights import Weights
from tests.parity.reference_weights import fill, pixels

SIZES = [(128, 128), (256, 96), (512, 512)]
# As published, with windows of 64 finest tokens where tiny has 56, and all levels fused as the neck also can.
KINDS = {
    "debug": [],
    "as large": ["trunk.window_spec=[8,4,16,8]"],
    "fused": ["neck.fpn_top_down_levels=null", "neck.fuse_type=avg", "neck.fpn_interp_model=bilinear"],
    "no pooling": ["trunk.q_pool=0", "trunk.window_spec=[8,8,8,8]", "neck.fpn_top_down_levels=[]"],
}


def encoder_of(*overrides: str, precision: str = "fp32") -> ImageEncoder:
    tree = load_encoder_config("hiera_debug", ["scalp=0", *overrides]).tree
    encoder = assemble_encoder(tree, Weights("random", seed=0), precision=precision)
    encoder.load_state_dict(fill(encoder.state_dict()))
    return encoder


def relative_l2(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual.float() - expected.float()).norm() / expected.float().norm())


@torch.inference_mode()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_levels_equal_those_of_the_modules(kind: str, size: tuple[int, int]):
    encoder = encoder_of(*KINDS[kind])
    assert PackedEncoder.fits(encoder.trunk, encoder.neck, size=size, dtype=torch.float32)
    images = pixels(*size, batch=2)
    plain, packed = encoder.encode_plainly(images), encoder(images)
    for level, (actual, expected) in enumerate(zip(packed["backbone_fpn"], plain["backbone_fpn"], strict=True)):
        assert actual.shape == expected.shape
        assert relative_l2(actual, expected) < 2e-6, f"level {level}: {relative_l2(actual, expected)}"


@torch.inference_mode()
@pytest.mark.skipif(not can_pack(torch.bfloat16), reason="this CPU does not multiply bf16")
def test_bf16_deviates_no_more_than_under_autocast():
    half, images = encoder_of(precision="bf16"), pixels(128, 128)
    exact = encoder_of().encode_plainly(images)["backbone_fpn"]
    autocast = half.encode_plainly(images)["backbone_fpn"]
    for level, actual in enumerate(half(images)["backbone_fpn"]):
        ours, theirs = relative_l2(actual, exact[level]), relative_l2(autocast[level], exact[level])
        assert 0 < ours < 1.3 * theirs, f"level {level}: {ours} against {theirs} under autocast"


@torch.inference_mode()
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_features_do_not_depend_on_the_rest_of_the_batch(precision: str):
    encoder, images = encoder_of(precision=precision), pixels(128, 128, batch=3)
    # Only where the modules compute in bf16, a batch at a time, may the rounding differ.
    bound = 0.02 if precision == "bf16" and not can_pack(torch.bfloat16) else 1e-6
    together = encoder(images)["backbone_fpn"]
    for place in range(3):
        for level, alone in enumerate(encoder(images[place : place + 1])["backbone_fpn"]):
            difference = relative_l2(together[level][place : place + 1], alone)
            assert difference < bound, f"level {level}: {difference}"


def test_a_neck_that_mixes_cells_has_no_packed_form():
    encoder = encoder_of("neck.kernel_size=3", "neck.padding=1")
    assert not PackedEncoder.fits(encoder.trunk, encoder.neck, size=(128, 128), dtype=torch.float32)
    with torch.inference_mode():
        images = pixels(128, 128)
        levels, expected = (call(images)["backbone_fpn"] for call in (encoder, encoder.encode_plainly))
    assert all(torch.equal(actual, wanted) for actual, wanted in zip(levels, expected, strict=True))


def test_half_precision_without_a_packed_form_is_left_to_the_modules():
    encoder = encoder_of()
    assert not PackedEncoder.fits(encoder.trunk, encoder.neck, size=(128, 128), dtype=torch.float16)

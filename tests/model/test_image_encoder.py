"""The whole encoder: published names and counts, batches, sizes, layout, and what it refuses."""

import copy
import pickle
from typing import Any

import pytest
import torch

from pipeline.model.build import assemble_encoder, instantiate_encoder, load_encoder_config
from pipeline.model.fpn import FpnNeck
from pipeline.model.hiera import Hiera
from pipeline.model.image_encoder import ImageEncoder
from pipeline.model.position_encoding import PositionEmbeddingSine
from pipeline.model.weights import Weights
from tests.parity.reference_weights import fill, pixels

# Published sizes: parameters of trunk and neck, tensors of the trunk.
COUNTS = {
    "tiny": (26_849_472, 369_664, 154),
    "small": (33_947_328, 369_664, 202),
    "base_plus": (68_675_712, 431_104, 298),
    "large": (212_149_296, 553_984, 586),
}
PER_BLOCK = ["norm1", "attn.qkv", "attn.proj", "norm2", "mlp.layers.0", "mlp.layers.1"]


@pytest.fixture(scope="module")
def debug_encoder() -> ImageEncoder:
    return assemble_encoder(load_encoder_config("hiera_debug").tree, Weights("random", seed=0))


def meta_encoder(name: str) -> ImageEncoder:
    with torch.device("meta"):
        return instantiate_encoder(load_encoder_config(name).tree)


@pytest.mark.parametrize("family", ["sam2", "sam2.1"])
@pytest.mark.parametrize("size", COUNTS)
def test_parameters_and_tensors_count_as_published(family: str, size: str):
    encoder = meta_encoder(f"{family}_hiera_{size}")
    trunk, neck, num_tensors = COUNTS[size]
    assert sum(p.numel() for p in encoder.trunk.parameters()) == trunk
    assert sum(p.numel() for p in encoder.neck.parameters()) == neck
    assert len(encoder.trunk.state_dict()) == num_tensors
    assert len(encoder.neck.state_dict()) == 8


def test_the_names_of_tiny_are_the_published_ones():
    parts = ("weight", "bias")
    names = ["pos_embed", "pos_embed_window", *(f"patch_embed.proj.{part}" for part in parts)]
    for index in range(12):
        layers = [*PER_BLOCK, "proj"] if index in (1, 3, 10) else PER_BLOCK
        names += [f"blocks.{index}.{layer}.{part}" for layer in layers for part in parts]
    expected = [f"trunk.{name}" for name in names]
    expected += [f"neck.convs.{index}.conv.{part}" for index in range(4) for part in parts]
    assert list(meta_encoder("sam2.1_hiera_tiny").state_dict()) == expected


def test_outputs_at_1024_have_the_published_shapes():
    with torch.device("meta"):
        output = meta_encoder("sam2.1_hiera_large")(torch.empty(2, 3, 1024, 1024))
    shapes = [(2, 256, 256, 256), (2, 256, 128, 128), (2, 256, 64, 64)]
    assert list(output) == ["vision_features", "vision_pos_enc", "backbone_fpn"]
    assert [tuple(m.shape) for m in output["backbone_fpn"]] == shapes
    assert [tuple(m.shape) for m in output["vision_pos_enc"]] == shapes
    assert output["vision_features"] is output["backbone_fpn"][-1]


@torch.inference_mode()
def test_a_batch_gives_what_its_images_give_one_by_one(debug_encoder: ImageEncoder):
    pixels_BCHW = torch.randn(3, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    together = debug_encoder(pixels_BCHW)["backbone_fpn"]
    for index in range(3):
        alone = debug_encoder(pixels_BCHW[index : index + 1])["backbone_fpn"]
        for level, (a, b) in enumerate(zip(alone, together, strict=True)):
            error = float((a[0] - b[index]).norm() / b[index].norm())
            assert error < 1e-5, f"image {index}, level {level}: {error}"


@torch.inference_mode()
def test_input_need_not_be_square(debug_encoder: ImageEncoder):
    pixels_BCHW = torch.randn(1, 3, 64, 160, generator=torch.Generator().manual_seed(0))
    output = debug_encoder(pixels_BCHW)
    assert [tuple(m.shape[2:]) for m in output["backbone_fpn"]] == [(16, 40), (8, 20), (4, 10)]
    assert [tuple(m.shape[2:]) for m in output["vision_pos_enc"]] == [(16, 40), (8, 20), (4, 10)]
    contiguous = debug_encoder(pixels_BCHW.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(contiguous["backbone_fpn"], output["backbone_fpn"], rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_repeated_forwards_are_bit_equal(debug_encoder: ImageEncoder):
    pixels_BCHW = torch.randn(2, 3, 128, 128)
    first, again = debug_encoder(pixels_BCHW), debug_encoder(pixels_BCHW)
    assert all(torch.equal(a, b) for a, b in zip(first["backbone_fpn"], again["backbone_fpn"], strict=True))


def encoder_of(scalp: int = 1, channels: list[int] | None = None, **trunk_options: Any) -> ImageEncoder:
    trunk = Hiera(8, stages=[1, 1, 2, 1], global_att_blocks=[3], **trunk_options)
    return ImageEncoder(trunk, FpnNeck(PositionEmbeddingSine(8), 8, channels or [64, 32, 16, 8]), scalp)


def test_scalp_drops_the_coarsest_levels():
    pixels_BCHW = torch.randn(1, 3, 32, 32)
    for scalp, count in ((0, 4), (1, 3), (3, 1)):
        output = encoder_of(scalp)(pixels_BCHW)
        assert len(output["backbone_fpn"]) == len(output["vision_pos_enc"]) == count
        assert output["vision_features"].shape[-1] == 8 >> (count - 1)


def test_an_encoder_of_the_last_stage_alone_works():
    output = encoder_of(0, [64], return_interm_layers=False)(torch.randn(1, 3, 64, 64))
    assert [tuple(m.shape) for m in output["backbone_fpn"]] == [(1, 8, 2, 2)]


def test_channels_that_do_not_match_are_refused_with_both_lists():
    with pytest.raises(ValueError, match=r"\[64, 32, 16, 4\] does not match .* \[64, 32, 16, 8\]"):
        encoder_of(1, [64, 32, 16, 4])


@pytest.mark.parametrize("scalp", [4, -1])
def test_a_scalp_that_leaves_no_level_is_refused(scalp: int):
    with pytest.raises(ValueError, match=f"scalp={scalp} must lie between 0 and 3"):
        encoder_of(scalp)


@torch.no_grad()
def test_weights_loaded_later_are_the_ones_that_count(debug_encoder: ImageEncoder):
    encoder, images = copy.deepcopy(debug_encoder), pixels(128, 128)
    before = encoder(images)["vision_features"]
    encoder.load_state_dict(fill(encoder.state_dict()))
    after = encoder(images)["vision_features"]
    assert not torch.allclose(before, after, atol=1e-3)
    torch.testing.assert_close(after, encoder.encode_plainly(images)["vision_features"], rtol=1e-4, atol=1e-4)


def test_an_encoder_that_has_encoded_can_be_copied_and_pickled(debug_encoder: ImageEncoder):
    images = pixels(128, 128)
    with torch.inference_mode():
        expected = debug_encoder(images)["vision_features"]
        for again in (copy.deepcopy(debug_encoder), pickle.loads(pickle.dumps(debug_encoder))):  # noqa: S301
            assert torch.equal(again(images)["vision_features"], expected)


def test_gradients_flow_where_they_are_wanted(debug_encoder: ImageEncoder):
    encoder = copy.deepcopy(debug_encoder).requires_grad_()
    encoder(pixels(128, 128))["vision_features"].sum().backward()
    assert all(parameter.grad is not None for name, parameter in encoder.named_parameters() if "trunk" in name)


@torch.inference_mode()
def test_an_encoder_made_in_inference_mode_works():
    encoder = assemble_encoder(load_encoder_config("hiera_debug").tree, Weights("random", seed=0))
    images = pixels(128, 128)
    expected = encoder.encode_plainly(images)["vision_features"]
    torch.testing.assert_close(encoder(images)["vision_features"], expected, rtol=1e-4, atol=1e-4)

"""The mask decoder's convolutions folded into the neck give what they give one after the other."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.errors import CheckpointError, ConfigError
from pipeline.model.build import assemble_encoder, check_checkpoint, decoder_inputs, load_encoder_config
from pipeline.model.decoder_inputs import DecoderInputs
from pipeline.model.weights import Weights, resolve_weights

RANDOM = Weights("random", seed=0)
TREE = load_encoder_config("hiera_debug").tree
HUGGING_FACE = {
    "sam_mask_decoder.conv_s0.weight": "mask_decoder.conv_s0.weight",
    "sam_mask_decoder.conv_s0.bias": "mask_decoder.conv_s0.bias",
    "sam_mask_decoder.conv_s1.weight": "mask_decoder.conv_s1.weight",
    "sam_mask_decoder.conv_s1.bias": "mask_decoder.conv_s1.bias",
    "no_mem_embed": "no_memory_embedding",
}


def whole_model() -> dict[str, Tensor]:
    """The tensors of a whole model, by their published names, as far as features need them."""
    torch.manual_seed(1)
    encoder = assemble_encoder(TREE, RANDOM)
    tensors = {f"image_encoder.{name}": torch.randn_like(value) for name, value in encoder.state_dict().items()}
    return {**tensors, **{name: torch.randn_like(value) for name, value in DecoderInputs(256).state_dict().items()}}


def saved(path: Path, tensors: dict[str, Tensor]) -> Weights:
    torch.save({"model": tensors}, path)
    return resolve_weights(str(path), "hiera_debug")


@pytest.mark.parametrize("overrides", [[], ["neck.kernel_size=3", "neck.padding=1"]], ids=["1x1", "3x3"])
@pytest.mark.parametrize("way", ["forward", "encode_plainly", "encode_exactly"])
def test_levels_are_those_of_the_convolutions_after_the_encoder(way: str, overrides: list[str]):
    tree = load_encoder_config("hiera_debug", overrides).tree
    inputs, pixels = decoder_inputs(tree, RANDOM), torch.randn(2, 3, 128, 128)
    with torch.inference_mode():
        plain = assemble_encoder(tree, RANDOM)(pixels)["backbone_fpn"]
        output = getattr(assemble_encoder(tree, RANDOM, for_decoder=True), way)(pixels)
        expected = [inputs.sam_mask_decoder[f"conv_s{level}"](plain[level]) for level in (0, 1)]
    assert [tuple(level.shape[1:]) for level in output["backbone_fpn"]] == [(32, 32, 32), (64, 16, 16), (256, 8, 8)]
    for level, (own, wanted) in enumerate(zip(output["backbone_fpn"], [*expected, plain[2]], strict=True)):
        assert float((own - wanted).norm() / wanted.norm()) < 2e-6, level
    assert output["vision_features"] is output["backbone_fpn"][-1]
    assert [tuple(encoding.shape[1:]) for encoding in output["vision_pos_enc"]] == [
        (256, 32, 32),
        (256, 16, 16),
        (256, 8, 8),
    ]


@pytest.mark.parametrize("names", [{}, HUGGING_FACE], ids=["published", "hugging-face"])
def test_a_whole_model_s_checkpoint_gives_them_their_weights(tmp_path: Path, names: dict[str, str]):
    tensors = whole_model()
    weights = saved(tmp_path / "model.pt", {names.get(name, name): value for name, value in tensors.items()})
    check_checkpoint(TREE, tmp_path / "model.pt", for_decoder=True)
    for name, value in decoder_inputs(TREE, weights).state_dict().items():
        assert torch.equal(value, tensors[name]), name


def test_an_encoder_s_own_checkpoint_is_refused_before_anything_runs(tmp_path: Path):
    tensors = {name: value for name, value in whole_model().items() if name.startswith("image_encoder.")}
    saved(tmp_path / "model.pt", tensors)
    check_checkpoint(TREE, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"model\.pt holds no mask decoder: .* whole model"):
        check_checkpoint(TREE, tmp_path / "model.pt", for_decoder=True)


def test_a_checkpoint_that_lacks_one_of_them_is_refused_by_its_name(tmp_path: Path):
    tensors = whole_model()
    del tensors["no_mem_embed"]
    saved(tmp_path / "model.pt", tensors)
    with pytest.raises(CheckpointError, match=r"does not fit the model: 1 missing \(no_mem_embed\)"):
        check_checkpoint(TREE, tmp_path / "model.pt", for_decoder=True)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["scalp=0"], r"takes 3 levels, but this encoder gives 4: set scalp"),
        (["neck.fpn_top_down_levels=null"], r"fpn_top_down_levels=\[0, 1, 2, 3\]: levels 0 and 1 must be without"),
    ],
)
def test_an_encoder_that_no_mask_decoder_fits_is_refused(overrides: list[str], said: str):
    with pytest.raises(ConfigError, match=said):
        assemble_encoder(load_encoder_config("hiera_debug", overrides).tree, RANDOM, for_decoder=True)

"""Random weights depend on the seed and the parameter's name alone."""

import hashlib

import torch

from pipeline.model.build import assemble_encoder, load_encoder_config
from pipeline.model.image_encoder import ImageEncoder
from pipeline.model.random_weights import fill_random
from pipeline.model.weights import Weights


def random_encoder(seed: int = 0, model: str = "hiera_debug") -> ImageEncoder:
    return assemble_encoder(load_encoder_config(model).tree, Weights("random", seed=seed))


def test_one_seed_gives_one_set_of_weights_everywhere():
    digest = hashlib.sha256()
    for name, value in sorted(random_encoder().state_dict().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    assert digest.hexdigest() == "8fadb9951d30543661bd711ba93c12a176a5d83c23ca9332fcdcf8f64fce8b79"


def test_torch_has_no_say_in_the_weights():
    torch.manual_seed(1)
    first = random_encoder()
    torch.manual_seed(2)
    again = random_encoder()
    fill_random(again, 0)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_another_seed_changes_every_tensor_that_is_drawn():
    first, other = random_encoder(0).state_dict(), random_encoder(1).state_dict()
    for name, value in first.items():
        is_fixed = name.endswith("bias") or ".norm" in name
        assert torch.equal(value, other[name]) == is_fixed, name


def test_norms_are_the_identity_biases_zero_and_activations_stay_of_unit_order():
    encoder = random_encoder()
    for name, value in encoder.state_dict().items():
        if name.endswith("bias"):
            assert not value.any(), name
        elif ".norm" in name:
            assert bool((value == 1).all()), name
    for level in encoder(torch.randn(1, 3, 128, 128))["backbone_fpn"]:
        assert 0.1 < float(level.std()) < 10.0

"""What `features=decoder` holds, and masks from it, equal what SAM 2's own image predictor gives, to 1e-4 in fp32."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.data import astronaut

from pipeline.exports.mask_decoder import MaskDecoder
from pipeline.featureset.maps import scaled
from pipeline.model.build import assemble_encoder, decoder_inputs, load_encoder_config
from pipeline.model.outputs import FeatureChoice, map_specs, stored_features
from pipeline.model.weights import Weights, resolve_weights
from pipeline.preprocessing.transform import preprocess
from pipeline.readers.row import FeatureRow
from tests.parity.reference_weights import sample_indices
from tests.parity.whole_model import save_whole_model

SIDE_PX = 1024
GOLDEN = np.load(Path(__file__).parent / "predictor_tiny_astronaut.png.npz")
PROMPTS = [(256.0, 256.0), (60.0, 60.0), (450.0, 60.0), (60.0, 450.0), (450.0, 450.0)]


class Predicted:
    """The astronaut's features in each dtype, as a reader gives them, and a mask decoder."""

    def __init__(self, checkpoint: Path) -> None:
        tree = load_encoder_config("sam2.1_hiera_tiny").tree
        weights = resolve_weights(str(checkpoint), "sam2.1_hiera_tiny")
        encoder = assemble_encoder(tree, weights, for_decoder=True)
        image = astronaut()
        with torch.inference_mode():
            output = encoder(preprocess(image, SIDE_PX)[None])
        no_mem_embed = decoder_inputs(tree, weights).no_mem_embed.flatten().numpy()
        self.decoder = MaskDecoder(checkpoint)
        self.rows = {}
        for dtype in ("float32", "float16", "int8"):
            maps = map_specs(tree, SIDE_PX, FeatureChoice("decoder", (dtype,)))
            stored = stored_features(output, maps).of_image(0)
            read = {spec.column: _numbers(spec, stored).transpose(2, 0, 1) for spec in maps}
            pooled = partial(np.asarray, stored["embedding"])
            self.rows[dtype] = FeatureRow("a", "/a", image.shape[:2], read, tuple, pooled, no_mem_embed)


def _numbers(spec, stored):
    return scaled(*(stored[name] for name in spec.names)) if spec.is_scaled else stored[spec.column]


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Predicted:
    return Predicted(save_whole_model(tmp_path_factory.mktemp("model") / "model.pt", "sam2.1_hiera_tiny"))


def assert_equals_golden(name: str, actual: torch.Tensor) -> None:
    assert tuple(actual.shape) == tuple(GOLDEN[f"{name}_shape"])[-actual.ndim :], name
    flat, expected = actual.contiguous().flatten().double(), GOLDEN[f"{name}_values"]
    error = np.linalg.norm(flat.numpy()[sample_indices(flat.numel())] - expected) / np.linalg.norm(expected)
    assert error < 1e-4, f"{name}: relative L2 {error}"
    assert float(flat.norm()) == pytest.approx(float(GOLDEN[f"{name}_l2"]), rel=1e-4), name


def test_features_equal_those_of_the_published_predictor(predicted: Predicted):
    names = ("high_res_0", "high_res_1", "image_embed")
    for name, actual in zip(names, predicted.rows["float32"].image_embeddings, strict=True):
        assert_equals_golden(name, actual)


def test_masks_equal_those_of_the_published_predictor(predicted: Predicted):
    height, width = GOLDEN["orig_hw"]
    point = [(float(width // 2), float(height // 3))]
    logits, ious = predicted.decoder.logits(predicted.rows["float32"], point)
    assert_equals_golden("low_res_logits", logits)
    np.testing.assert_allclose(ious.numpy(), GOLDEN["ious"], atol=1e-5)
    found = predicted.decoder.predict(predicted.rows["float32"], point)
    order = np.argsort(-GOLDEN["ious"])
    assert np.abs(found.masks.sum(axis=(1, 2)) - GOLDEN["mask_area"][order]).max() <= 3


@pytest.mark.parametrize(("dtype", "least"), [("float16", 0.999), ("int8", 0.98)])
def test_masks_from_stored_numbers_equal_those_from_exact_ones(predicted: Predicted, dtype: str, least: float):
    for prompt in PROMPTS:
        exact = predicted.decoder.predict(predicted.rows["float32"], [prompt]).masks
        found = predicted.decoder.predict(predicted.rows[dtype], [prompt]).masks
        for one, other in zip(exact, found, strict=True):
            overlap = (one & other).sum() / max(1, (one | other).sum())
            assert overlap >= least, f"prompt {prompt}: IoU {overlap}"


def test_random_weights_are_the_same_everywhere():
    tree = load_encoder_config("hiera_debug").tree
    first, second = (decoder_inputs(tree, Weights("random", seed=3)).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(float(value.abs().sum()) > 0 for name, value in first.items() if not name.endswith("bias"))

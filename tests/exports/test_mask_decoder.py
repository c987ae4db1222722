"""Masks from stored features: the weights found under either naming, prompts checked, answers as SAM 2 gives them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pipeline.errors import CheckpointError, ConfigError
from pipeline.exports.mask_decoder import MaskDecoder, decoder_state, published_name
from pipeline.readers.row import FeatureRow
from tests.parity.whole_model import POINTS, published_tensors, save_whole_model

SIDE_PX = 128


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whole_model(tmp_path_factory.mktemp("model") / "model.pt", "hiera_debug")


@pytest.fixture(scope="module")
def row() -> FeatureRow:
    rng = np.random.default_rng(5)
    shapes = {"high_res_0": (32, 32, 32), "high_res_1": (64, 16, 16), "fpn_2": (256, 8, 8)}
    maps = {name: rng.standard_normal(shape, np.float32).astype(np.float16) for name, shape in shapes.items()}
    return FeatureRow("a.png", "/a.png", (60, 90), maps, tuple, lambda: np.zeros(256), np.zeros(256, np.float32))


def test_masks_have_the_size_of_the_image_and_come_best_first(checkpoint: Path, row: FeatureRow):
    found = MaskDecoder(checkpoint, side_px=SIDE_PX).predict(row, [(45.0, 30.0)])
    assert (found.masks.shape, found.masks.dtype) == ((3, 60, 90), bool)
    assert sorted(found.ious, reverse=True) == list(found.ious)
    assert len({mask.tobytes() for mask in found.masks}) == 3


def test_a_point_is_one_of_the_image_whatever_its_size(checkpoint: Path, row: FeatureRow):
    decoder = MaskDecoder(checkpoint, side_px=SIDE_PX)
    twice = FeatureRow("b", "/b", (120, 180), row.maps, tuple, row.load_embedding, row.no_mem_embed)
    torch.testing.assert_close(decoder.logits(row, [(45.0, 30.0)]), decoder.logits(twice, [(90.0, 60.0)]))
    assert not torch.equal(decoder.logits(row, [(45.0, 30.0)])[0], decoder.logits(row, [(5.0, 30.0)])[0])


def test_a_point_beside_the_object_is_another_prompt(checkpoint: Path, row: FeatureRow):
    decoder = MaskDecoder(checkpoint, side_px=SIDE_PX)
    both = decoder.logits(row, [(45.0, 30.0)], background=[(5.0, 5.0)])[0]
    assert not torch.equal(both, decoder.logits(row, [(45.0, 30.0), (5.0, 5.0)])[0])
    assert decoder.predict(row, [(45.0, 30.0)], multimask=False).masks.shape == (1, 60, 90)


@pytest.mark.parametrize("point", [(-1.0, 5.0), (91.0, 5.0), (5.0, 61.0)])
def test_a_point_outside_the_image_is_refused(checkpoint: Path, row: FeatureRow, point: tuple[float, float]):
    with pytest.raises(ConfigError, match=r"lies outside a\.png.*90 x 60 pixels"):
        MaskDecoder(checkpoint, side_px=SIDE_PX).predict(row, [point])


def test_hugging_face_s_file_gives_the_same_masks(tmp_path: Path, checkpoint: Path, row: FeatureRow):
    published = published_tensors("hiera_debug")
    points = torch.cat([published[f"sam_prompt_encoder.point_embeddings.{number}.weight"] for number in range(4)])
    theirs = {name: published[published_name(name)] for name in decoder_state() if name != POINTS}
    del theirs["prompt_encoder.shared_embedding.positional_embedding"]  # shared with the model's own
    save_file({**theirs, POINTS: points}, tmp_path / "model.safetensors")
    wanted = MaskDecoder(checkpoint, side_px=SIDE_PX).logits(row, [(45.0, 30.0)])
    found = MaskDecoder(tmp_path / "model.safetensors", side_px=SIDE_PX).logits(row, [(45.0, 30.0)])
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)


def test_a_file_without_a_mask_decoder_is_refused_by_the_names_it_lacks(tmp_path: Path):
    tensors = {name: value for name, value in published_tensors("hiera_debug").items() if "iou_token" not in name}
    torch.save({"model": tensors}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"model\.pt is no checkpoint of a whole.*: sam_mask_decoder\.iou_token"):
        MaskDecoder(tmp_path / "model.pt")
    alone = {name: value for name, value in tensors.items() if name.startswith("image_encoder.")}
    torch.save({"model": alone}, tmp_path / "alone.pt")
    with pytest.raises(CheckpointError, match=r"missing or of another shape: no_mem_embed, .* and \d+ more"):
        MaskDecoder(tmp_path / "alone.pt")

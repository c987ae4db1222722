"""Position encodings against the formula in plain Python, and how they are kept."""

import copy
import math
import pickle

import pytest
import torch

from pipeline.model.position_encoding import MAX_KEPT, PositionEmbeddingSine


def formula(position: int, length: int, channel: int, num_pos_feats: int, scale: float | None) -> float:
    half = num_pos_feats // 2
    value = float(position + 1)
    if scale is not None:
        value = value / (length + 1e-6) * scale
    angle = value / 10000 ** (2 * (channel % half // 2) / half)
    return math.sin(angle) if channel % half % 2 == 0 else math.cos(angle)


@pytest.mark.parametrize(("normalize", "scale"), [(True, None), (True, 3.0), (False, None)])
def test_values_follow_the_formula(normalize: bool, scale: float | None):
    height, width, channels = 5, 3, 12
    used = (scale or 2 * math.pi) if normalize else None
    encoding = PositionEmbeddingSine(channels, normalize=normalize, scale=scale)(torch.zeros(2, 7, height, width))
    assert encoding.shape == (2, channels, height, width)
    for channel in range(channels):
        for y in range(height):
            for x in range(width):
                position, length = (y, height) if channel < channels // 2 else (x, width)
                expected = formula(position, length, channel, channels, used)
                assert float(encoding[1, channel, y, x]) == pytest.approx(expected, abs=1e-6), (channel, y, x)


def test_repeated_forwards_share_one_piece_of_memory_and_other_shapes_do_not():
    encode = PositionEmbeddingSine(8)
    first, again = encode(torch.zeros(1, 1, 4, 4)), encode(torch.zeros(3, 1, 4, 4))
    assert first.data_ptr() == again.data_ptr()
    assert encode(torch.zeros(1, 1, 4, 5)).data_ptr() != first.data_ptr()


def test_the_dtype_is_as_asked_and_float32_otherwise():
    encode = PositionEmbeddingSine(8)
    pixels_BCHW = torch.zeros(1, 1, 4, 4, dtype=torch.bfloat16)
    assert encode(pixels_BCHW).dtype == torch.float32
    assert torch.equal(encode(pixels_BCHW, torch.bfloat16), encode(pixels_BCHW).bfloat16())


def test_what_is_kept_stays_bounded():
    encode = PositionEmbeddingSine(8)
    for width in range(1, 3 * MAX_KEPT):
        encode(torch.zeros(1, 1, 1, width))
    assert len(encode._kept) == MAX_KEPT  # noqa: SLF001  the bound has no other outside


def test_encodings_made_in_inference_mode_serve_training_too():
    encode = PositionEmbeddingSine(8)
    with torch.inference_mode():
        encode(torch.zeros(1, 1, 4, 4))
    weight = torch.ones(8, 4, 4, requires_grad=True)
    (encode(torch.zeros(1, 1, 4, 4)) * weight).sum().backward()
    assert weight.grad is not None


def test_copies_travel_without_what_is_kept_and_give_the_same_values():
    encode = PositionEmbeddingSine(8)
    values = encode(torch.zeros(1, 1, 64, 64))
    assert len(pickle.dumps(encode)) < 4096
    assert torch.equal(copy.deepcopy(encode)(torch.zeros(1, 1, 64, 64)), values)


def test_there_are_no_tensors_in_the_state():
    assert not PositionEmbeddingSine(8, warmup_cache=True, strides=[4, 8]).state_dict()


@pytest.mark.parametrize("odd", [7, 0])
def test_an_odd_number_of_channels_is_refused(odd: int):
    with pytest.raises(ValueError, match=f"num_pos_feats={odd}"):
        PositionEmbeddingSine(odd)


def test_a_scale_without_normalisation_is_refused():
    with pytest.raises(ValueError, match=r"scale=2\.0 has no effect without normalize"):
        PositionEmbeddingSine(8, normalize=False, scale=2.0)

"""Checkpoints as published and as Hugging Face has them, and every way in which one can be wrong."""

import os
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pipeline.errors import CheckpointError
from pipeline.model.build import check_checkpoint, instantiate_encoder, load_encoder_config
from pipeline.model.checkpoint import load_checkpoint, read_encoder_weights
from pipeline.model.image_encoder import ImageEncoder
from tests.parity.hugging_face import hugging_face_name

QKV = "trunk.blocks.0.attn.qkv.weight"
PATCHES = "trunk.patch_embed.proj.weight"


@cache
def debug_tree() -> dict[str, Any]:
    return load_encoder_config("hiera_debug").tree


def new_encoder() -> ImageEncoder:
    return instantiate_encoder(debug_tree())


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {name: torch.randn_like(value) for name, value in new_encoder().state_dict().items()}


def save(path: Path, weights: dict[str, Tensor], prefix: str = "image_encoder.") -> Path:
    """A file as SAM 2 publishes it, with parts of the model that are none of the encoder's."""
    rest = {
        "no_mem_embed": torch.zeros(1, 1, 256),
        "memory_attention.layers.0.norm1.weight": torch.ones(256),
        "mask_downsample.weight": torch.full((1,), float("nan")),
        "sam_mask_decoder.num_batches_tracked": torch.tensor(3),
    }
    torch.save({"model": {**{prefix + name: value for name, value in weights.items()}, **rest}}, path)
    return path


def assert_loads(path: Path, weights: dict[str, Tensor]) -> None:
    encoder = new_encoder()
    load_checkpoint(encoder, path)
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, weights[name]), name


def refusal(path: Path) -> str:
    """The message with which a file is refused, by the loader and by the early check alike; nothing is copied."""
    encoder = new_encoder()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(encoder, path)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    with pytest.raises(CheckpointError) as checked:
        check_checkpoint(debug_tree(), path)
    message = str(caught.value)
    assert message == str(checked.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 700
    return message


def test_a_published_file_loads_and_the_rest_of_the_model_is_ignored(tmp_path: Path, weights: dict[str, Tensor]):
    path = save(tmp_path / "model.pt", weights)
    assert_loads(path, weights)
    check_checkpoint(debug_tree(), path)
    assert set(read_encoder_weights(path)) == set(weights)


def test_a_bare_encoder_loads(tmp_path: Path, weights: dict[str, Tensor]):
    torch.save(weights, tmp_path / "encoder.pth")
    assert_loads(tmp_path / "encoder.pth", weights)


@pytest.mark.parametrize("prefix", ["vision_encoder.", ""])
def test_a_hugging_face_file_loads(tmp_path: Path, weights: dict[str, Tensor], prefix: str):
    theirs = {prefix + hugging_face_name(name): value for name, value in weights.items()}
    assert set(theirs).isdisjoint({f"image_encoder.{name}" for name in weights})
    if prefix:
        theirs["mask_decoder.conv_s0.bias"] = torch.zeros(32)
    save_file(theirs, tmp_path / "model.safetensors")
    assert_loads(tmp_path / "model.safetensors", weights)


@pytest.mark.parametrize("prefix", ["image_encoder.", ""])
def test_a_safetensors_file_with_the_published_names_loads(tmp_path: Path, weights: dict[str, Tensor], prefix: str):
    save_file({prefix + name: value for name, value in weights.items()}, tmp_path / "model.safetensors")
    assert_loads(tmp_path / "model.safetensors", weights)


def test_half_precision_files_load_as_float32(tmp_path: Path, weights: dict[str, Tensor]):
    path = save(tmp_path / "half.pt", {name: value.half() for name, value in weights.items()})
    assert_loads(path, {name: value.half().float() for name, value in weights.items()})


def test_missing_unexpected_and_misshaped_keys_are_named_with_their_numbers(tmp_path: Path, weights: dict[str, Tensor]):
    changed = {name: value for name, value in weights.items() if "blocks.3.mlp" not in name}
    changed["trunk.extra"] = torch.zeros(1)
    changed["neck.convs.0.conv.bias"] = torch.zeros(7)
    message = refusal(save(tmp_path / "x.pt", changed))
    assert "4 missing (trunk.blocks.3.mlp.layers.0.weight, " in message
    assert "and 1 more)" in message
    assert "1 unexpected (trunk.extra)" in message
    assert "1 of another shape (neck.convs.0.conv.bias (7,) instead of (256,))" in message


@pytest.mark.parametrize(
    ("size", "channels", "num_blocks"),
    [("tiny", 96, 12), ("small", 96, 16), ("base_plus", 112, 24), ("large", 144, 48)],
)
def test_a_checkpoint_of_another_size_is_recognised(tmp_path: Path, size: str, channels: int, num_blocks: int):
    tensors = {f"trunk.blocks.{index}.norm1.bias": torch.zeros(1) for index in range(num_blocks)}
    path = save(tmp_path / "x.pt", {PATCHES: torch.zeros(channels, 3, 7, 7), **tensors})
    assert refusal(path) == (
        f"{path} is a {size} checkpoint, but the model is debug: use model=sam2.1_hiera_{size} or another checkpoint"
    )


def test_a_debug_checkpoint_is_refused_by_a_published_size(tmp_path: Path, weights: dict[str, Tensor]):
    path = save(tmp_path / "x.pt", weights)
    with pytest.raises(
        CheckpointError, match="is a debug checkpoint, but the model is base_plus: use model=hiera_debug"
    ):
        check_checkpoint(load_encoder_config("sam2_hiera_base_plus").tree, path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused_by_name(tmp_path: Path, weights: dict[str, Tensor], value: float):
    changed = {**weights, QKV: weights[QKV].clone()}
    changed[QKV][3, 4] = value
    assert f"is damaged: {QKV} holds values that are not finite" in refusal(save(tmp_path / "x.pt", changed))


def test_integers_are_refused_by_name(tmp_path: Path, weights: dict[str, Tensor]):
    path = save(tmp_path / "x.pt", {**weights, QKV: weights[QKV].to(torch.int8)})
    assert f"holds {QKV} as torch.int8; floating point weights are needed" in refusal(path)


class Malicious:
    """Makes a folder when unpickled."""

    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.trap),)


def test_code_in_a_pickle_is_refused_and_never_run(tmp_path: Path):
    trap, path = tmp_path / "trap", tmp_path / "x.pt"
    torch.save({"model": Malicious(trap)}, path)
    assert "holds code, which is never run" in refusal(path)
    path.write_bytes(pickle.dumps(Malicious(trap), protocol=2))
    assert "a bare pickle, which is not read" in refusal(path)
    assert not trap.exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello", b"<!DOCTYPE html>" * 50, b"PK\x03\x04" + b"\0" * 100])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, suffix: str, content: bytes):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    assert "is damaged" in refusal(path)


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_truncated_file_is_refused(tmp_path: Path, weights: dict[str, Tensor], suffix: str, kept: float):
    path = tmp_path / f"x{suffix}"
    if suffix == ".pt":
        save(path, weights)
    else:
        save_file(weights, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    assert "is damaged" in refusal(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path):
    assert "there is no checkpoint" in refusal(tmp_path / "x.pt")


@pytest.mark.parametrize("content", [[1, 2], {"model": {"a": 1}}, {"epoch": 3}])
def test_a_file_without_tensors_is_refused(tmp_path: Path, content: object):
    torch.save(content, tmp_path / "x.pt")
    assert "does not map names to tensors" in refusal(tmp_path / "x.pt")


def test_a_file_without_an_encoder_is_refused_with_what_it_begins_with(tmp_path: Path):
    torch.save({"model": {"layer1.weight": torch.zeros(1), "fc.bias": torch.zeros(1)}}, tmp_path / "x.pt")
    assert "holds no SAM 2 image encoder; it begins with layer1.weight, fc.bias" in refusal(tmp_path / "x.pt")

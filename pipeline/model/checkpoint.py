"""Reads published and Hugging Face checkpoints, and loads them strictly.

A file is compared with the encoder before a single weight is copied, and refused with its name and what is
wrong: the model it belongs to, or the first keys that are missing, unexpected or of another shape.
"""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pipeline.errors import CheckpointError
from pipeline.model.checkpoint_kind import check_kind
from pipeline.model.decoder_inputs import DecoderInputs
from pipeline.model.image_encoder import ImageEncoder

PREFIX = "image_encoder."
MAX_SHOWN = 3
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
# Channels of the first stage and number of blocks tell the published sizes apart.
SIZES = {(96, 12): "tiny", (96, 16): "small", (112, 24): "base_plus", (144, 48): "large", (16, 5): "debug"}
_HUGGING_FACE = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^vision_encoder\.", PREFIX),
        (r"^(image_encoder\.|)backbone\.", r"\1trunk."),
        (r"\.patch_embed\.projection\.", ".patch_embed.proj."),
        (r"\.layer_norm([12])\.", r".norm\1."),
        (r"\.mlp\.proj_in\.", ".mlp.layers.0."),
        (r"\.mlp\.proj_out\.", ".mlp.layers.1."),
        (r"\bneck\.convs\.(\d+)\.(weight|bias)$", r"neck.convs.\1.conv.\2"),
        (r"^mask_decoder\.", "sam_mask_decoder."),
        (r"^no_memory_embedding$", "no_mem_embed"),
    )
]


def read_encoder_weights(path: Path, *, name: str | None = None) -> dict[str, Tensor]:
    """Read the image encoder's tensors from a checkpoint.

    Args:
        path: a `.pt` or `.pth` file as SAM 2 publishes it (flat, or under the key `model`), or a
            `.safetensors` file of Hugging Face's SAM 2 or with the published names.
        name: what to call the file in errors; its path unless given.

    Returns:
        Tensors on the CPU by published name without the prefix `image_encoder.`; other parts of the model are
        left out.

    Raises:
        CheckpointError: not there, damaged, not a checkpoint, or without an image encoder.
    """
    shown = name or str(path)
    tensors = {_published_name(key): value for key, value in read_tensors(path, shown).items()}
    has_whole_model = any(key.startswith(PREFIX) for key in tensors)
    if has_whole_model:
        tensors = {key.removeprefix(PREFIX): value for key, value in tensors.items() if key.startswith(PREFIX)}
    if not any(key.startswith("trunk.") for key in tensors):
        first = ", ".join(list(tensors)[:MAX_SHOWN]) or "nothing"
        raise CheckpointError(f"{shown} holds no SAM 2 image encoder; it begins with {first}")
    return tensors


def read_decoder_weights(path: Path, *, name: str | None = None) -> dict[str, Tensor]:
    """Read the tensors of `DecoderInputs` from a checkpoint of a whole model; arguments as `read_encoder_weights`.

    Raises:
        CheckpointError: not there, damaged, not a checkpoint, or without a mask decoder.
    """
    shown = name or str(path)
    with torch.device("meta"):
        wanted = DecoderInputs(8).state_dict()
    tensors = {_published_name(key): value for key, value in read_tensors(path, shown).items()}
    found = {key: tensors[key] for key in wanted if key in tensors}
    if not found:
        raise CheckpointError(f"{shown} holds no mask decoder: features=decoder takes the checkpoint of a whole model")
    return found


def check_fits(encoder: ImageEncoder | DecoderInputs, path: Path, *, name: str | None = None) -> dict[str, Tensor]:
    """Compare a checkpoint with an encoder, which may be on the meta device, and return its tensors.

    Raises:
        CheckpointError: as `read_encoder_weights`, or it belongs to another model, lacks or has other keys,
            has tensors of other shapes, or values that are not finite floating point numbers.
    """
    shown = name or str(path)
    read = read_encoder_weights if isinstance(encoder, ImageEncoder) else read_decoder_weights
    tensors = read(path, name=shown)
    wanted = encoder.state_dict()
    _check_size(wanted, tensors, shown)
    problems = [
        _describe("missing", [key for key in wanted if key not in tensors]),
        _describe("unexpected", [key for key in tensors if key not in wanted]),
        _describe(
            "of another shape",
            [
                f"{key} {tuple(tensors[key].shape)} instead of {tuple(value.shape)}"
                for key, value in wanted.items()
                if key in tensors and tensors[key].shape != value.shape
            ],
        ),
    ]
    if any(problems):
        raise CheckpointError(f"{shown} does not fit the model: {'; '.join(filter(None, problems))}")
    _check_values(tensors, shown)
    return tensors


def load_checkpoint(encoder: ImageEncoder | DecoderInputs, path: Path, *, name: str | None = None) -> None:
    """Copy a checkpoint's weights into an encoder, in place; nothing is copied unless everything fits.

    Raises:
        CheckpointError: as `check_fits`.
    """
    encoder.load_state_dict(check_fits(encoder, path, name=name), strict=True)


def read_tensors(path: Path, shown: str) -> dict[str, Tensor]:
    """Every tensor of a checkpoint under the name it has there.

    Raises:
        CheckpointError: not there, damaged, or not a checkpoint; calls it `shown`.
    """
    check_kind(path, shown)
    try:
        content: Any = load_file(path) if path.suffix == ".safetensors" else _load_pickle(path)
    except pickle.UnpicklingError:
        # Torch's own message fills a screen, and advises to load the file unsafely.
        raise CheckpointError(f"{shown} is damaged; give a checkpoint as SAM 2 publishes it") from None
    except (
        OSError,
        RuntimeError,
        ValueError,
        EOFError,
        KeyError,
        SafetensorError,
    ) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{shown} is damaged or not a checkpoint: {reason}") from None
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{shown} is not a checkpoint: it does not map names to tensors")
    return {str(key): value for key, value in content.items()}


def _load_pickle(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def _published_name(key: str) -> str:
    for pattern, replacement in _HUGGING_FACE:
        key = pattern.sub(replacement, key)
    return key


def _check_size(wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor], shown: str) -> None:
    own, found = _size(wanted), _size(tensors)
    if found is not None and own is not None and own != found:
        advice = f"use model=sam2.1_hiera_{found} or another checkpoint"
        if found == "debug":
            advice = "use model=hiera_debug or another checkpoint"
        raise CheckpointError(f"{shown} is a {found} checkpoint, but the model is {own}: {advice}")


def _size(tensors: Mapping[str, Tensor]) -> str | None:
    patches = tensors.get("trunk.patch_embed.proj.weight")
    blocks = {key.split(".")[2] for key in tensors if key.startswith("trunk.blocks.")}
    return None if patches is None else SIZES.get((patches.shape[0], len(blocks)))


def _describe(what: str, entries: list[str]) -> str | None:
    if not entries:
        return None
    more = f" and {len(entries) - MAX_SHOWN} more" if len(entries) > MAX_SHOWN else ""
    return f"{len(entries)} {what} ({', '.join(entries[:MAX_SHOWN])}{more})"


def _check_values(tensors: Mapping[str, Tensor], shown: str) -> None:
    for key, value in tensors.items():
        if value.dtype not in DTYPES:
            raise CheckpointError(f"{shown} holds {key} as {value.dtype}; floating point weights are needed")
        if value.layout != torch.strided or value.device.type != "cpu":
            raise CheckpointError(f"{shown} holds {key} as a {value.layout} tensor on {value.device}; it must be dense")
        if not bool(torch.isfinite(value.float()).all()):
            raise CheckpointError(f"{shown} is damaged: {key} holds values that are not finite")

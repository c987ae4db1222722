"""From a model's name or file to an encoder with weights: here Hydra builds what a file describes.

A model file is composed, reduced to the encoder's plain tree, checked against the table of targets, and only then
built. The plain tree travels to workers; encoders do not.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.errors import ConfigError, PipelineError
from pipeline.model.arguments import check_arguments
from pipeline.model.catalogue import find_model_file, model_names
from pipeline.model.checkpoint import check_fits
from pipeline.model.composition import compose_model_file, find_encoder, first_line
from pipeline.model.decoder_inputs import DecoderInputs
from pipeline.model.devices import COMPUTE_DTYPES, resolve_device, resolve_precision
from pipeline.model.image_encoder import ImageEncoder
from pipeline.model.targets import PLACES, locate, translate_targets
from pipeline.model.weights import Weights, load_weights, resolve_weights

__all__ = [
    "EncoderConfig",
    "assemble_encoder",
    "build_encoder",
    "check_checkpoint",
    "decoder_inputs",
    "instantiate_encoder",
    "load_encoder_config",
    "model_names",
    "resolve_device",
    "resolve_precision",
]

DEFAULT_SIDE_PX = 1024
# Ten times the largest published one: a model file from anybody must not decide how much memory a worker takes.
MAX_PARAMETERS = 2_000_000_000
# With it, Hydra builds what it has on its own list of dangerous targets.
_OVERRIDE_OF_HYDRA = "HYDRA_INSTANTIATE_ALLOWLIST_OVERRIDE"

logger = logging.getLogger("pipeline")


@dataclass(frozen=True)
class EncoderConfig:
    """An encoder's configuration in plain Python, ready to travel.

    Attributes:
        name: the model's name, or the stem of its file.
        tree: nested dicts, lists and values with our own targets; the root is the image encoder.
        side_px: side of the square images the model takes.
    """

    name: str
    tree: dict[str, Any]
    side_px: int


def load_encoder_config(config: str | Path, overrides: Sequence[str] = ()) -> EncoderConfig:
    """Read a model file and reduce it to the encoder's plain tree.

    Args:
        config: a name out of `model_names()`, or the path of a YAML file. The file's root is an image
            encoder, or it is a full SAM 2 model, whose other sections are kept for overrides and
            interpolations but not built.
        overrides: in Hydra's grammar, relative to the encoder or with the prefix `model.image_encoder.`.

    Returns:
        The configuration, checked as far as it can be without building it.

    Raises:
        ConfigError: no such model or file, not a model file, an override that does not apply, or a refused
            target.
    """
    path = find_model_file(config)
    if _OVERRIDE_OF_HYDRA in os.environ:
        logger.warning("%s is set and changes nothing: a model file names our own classes only", _OVERRIDE_OF_HYDRA)
    composed = compose_model_file(path, overrides)
    encoder_at = find_encoder(composed, path)
    try:
        node = OmegaConf.select(composed, encoder_at) if encoder_at else composed
        plain: Any = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
        side_px = _declared_side_px(composed, encoder_at)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{path} does not resolve: {first_line(error)}") from None
    tree = translate_targets(plain)
    check_arguments(tree)
    if side_px is None:
        side_px = tree["neck"]["position_encoding"].get("image_size", DEFAULT_SIDE_PX)
    if type(side_px) is not int or side_px < 1:
        raise ConfigError(f"image_size={side_px!r} in {path} must be a positive number of pixels")
    return EncoderConfig(name=path.stem, tree=tree, side_px=side_px)


def instantiate_encoder(tree: Mapping[str, Any]) -> ImageEncoder:
    """Build the encoder of a plain tree, with weights as the constructors leave them.

    Works under `torch.device("meta")` too.

    Raises:
        ConfigError: a refused target, an unknown argument, arguments that do not fit together, or an encoder too large.
    """
    checked = translate_targets(tree)
    check_arguments(checked)
    for target in PLACES.values():
        locate(target)
    try:
        encoder: ImageEncoder = instantiate(checked, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, PipelineError):
            raise cause from None
        place = str(error).rpartition("full_key: ")[2] if "full_key: " in str(error) else "image encoder"
        kind = "" if isinstance(cause, ValueError) else f"{type(cause or error).__name__}: "
        raise ConfigError(f"cannot build the {place} of the model: {kind}{first_line(cause or error)}") from None
    num_parameters = sum(parameter.numel() for parameter in encoder.parameters())
    if num_parameters > MAX_PARAMETERS:
        raise ConfigError(f"the encoder would have {num_parameters:,} parameters; {MAX_PARAMETERS:,} are allowed")
    return encoder


def check_checkpoint(tree: Mapping[str, Any], path: Path, *, for_decoder: bool = False) -> None:
    """Check that a checkpoint file fits a configuration, without building the encoder.

    Args:
        tree: `EncoderConfig.tree`.
        path: of the checkpoint.
        for_decoder: whether it must hold what lies between the encoder and the mask decoder too.

    Raises:
        CheckpointError: as `load_checkpoint`.
        ConfigError: as `instantiate_encoder`.
    """
    with torch.device("meta"):
        encoder = instantiate_encoder(tree)
    check_fits(encoder, path)
    if for_decoder:
        with torch.device("meta"):
            check_fits(DecoderInputs(encoder.neck.d_model), path)


def assemble_encoder(
    tree: Mapping[str, Any],
    weights: Weights,
    *,
    device: str = "cpu",
    precision: str = "fp32",
    for_decoder: bool = False,
) -> ImageEncoder:
    """Build an encoder from what travels to a worker: a plain tree and the identity of its weights.

    Args:
        tree: `EncoderConfig.tree`.
        weights: from `resolve_weights`.
        device: `cpu`, `cuda`, `cuda:N` or `auto`.
        precision: `fp32`, `bf16`, `fp16` or `auto`; half precisions run through autocast, weights stay
            float32.
        for_decoder: whether levels 0 and 1 are those that SAM 2's mask decoder takes; level 2 stays as it is.

    Returns:
        The encoder on its device, frozen and in eval mode.

    Raises:
        ConfigError: a configuration or device that cannot be.
        CheckpointError: weights that cannot be had or do not fit.
    """
    place = resolve_device(device)
    compute_dtype = COMPUTE_DTYPES[resolve_precision(precision, place)]
    with torch.device("meta"):
        encoder = instantiate_encoder(tree)
    encoder.to_empty(device="cpu")
    load_weights(encoder, weights)
    if for_decoder:
        decoder_inputs(tree, weights).fold_into(encoder)
    encoder.compute_dtype = compute_dtype
    return encoder.requires_grad_(requires_grad=False).eval().to(place)


def decoder_inputs(tree: Mapping[str, Any], weights: Weights) -> DecoderInputs:
    """What lies between an encoder and the mask decoder, with its weights, on the CPU.

    Raises:
        ConfigError: a configuration that cannot be.
        CheckpointError: weights that cannot be had, do not fit, or are of an encoder alone.
    """
    with torch.device("meta"):
        inputs = DecoderInputs(instantiate_encoder(tree).neck.d_model)
    inputs.to_empty(device="cpu")
    load_weights(inputs, weights)
    return inputs.requires_grad_(requires_grad=False)


def build_encoder(
    config: str | Path,
    *,
    checkpoint: str | os.PathLike[str] | None,
    overrides: Sequence[str] = (),
    device: str | torch.device = "cpu",
    precision: str = "fp32",
) -> ImageEncoder:
    """Build an image encoder with weights, ready to call.

    Args:
        config: a name out of `model_names()`, or the path of a SAM 2 YAML file.
        checkpoint: a path or URI of a `.pt` or `.safetensors` file, `published`, `random`, `random:SEED` or
            `auto`.
        overrides: as for `load_encoder_config`.
        device: as for `assemble_encoder`.
        precision: as for `assemble_encoder`.

    Returns:
        The encoder on its device, frozen and in eval mode.

    Raises:
        ConfigError: no checkpoint named, or a configuration or device that cannot be.
        CheckpointError: weights that cannot be had or do not fit.
    """
    loaded = load_encoder_config(config, overrides)
    place = resolve_device(str(device))
    resolve_precision(precision, place)
    weights = resolve_weights(None if checkpoint is None else os.fspath(checkpoint), loaded.name)
    return assemble_encoder(loaded.tree, weights, device=place, precision=precision)


def _declared_side_px(composed: DictConfig, encoder_at: str) -> Any:
    """What a full model says about the side of its images; None if it says nothing or is not one."""
    whole_model = encoder_at.removesuffix("image_encoder")
    return OmegaConf.select(composed, f"{whole_model}image_size") if encoder_at else None

"""A checkpoint of a whole SAM 2 model, as far as images need it, with stand-in weights derived from parameter names."""

from pathlib import Path

import torch
from torch import Tensor

from pipeline.exports.mask_decoder import decoder_state, published_name
from pipeline.model.build import instantiate_encoder, load_encoder_config
from tests.parity.reference_weights import fill, tensor_for

POINTS = "prompt_encoder.point_embed.weight"


def published_tensors(model: str) -> dict[str, Tensor]:
    """Encoder, prompt encoder and mask decoder under their published names."""
    with torch.device("meta"):
        encoder = instantiate_encoder(load_encoder_config(model).tree)
    tensors = {f"image_encoder.{name}": value for name, value in fill(encoder.state_dict()).items()}
    shapes = {published_name(name): tuple(value.shape) for name, value in decoder_state().items() if name != POINTS}
    shapes |= {f"sam_prompt_encoder.point_embeddings.{number}.weight": (1, 256) for number in range(4)}
    return {**tensors, **{name: tensor_for(name, shape) for name, shape in shapes.items()}}


def save_whole_model(path: Path, model: str) -> Path:
    """The checkpoint as SAM 2 publishes it."""
    torch.save({"model": published_tensors(model)}, path)
    return path

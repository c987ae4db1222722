"""Masks from stored features: SAM 2's prompt encoder and mask decoder as transformers has them, without the encoder.

transformers is an optional dependency (`pip install 'sam2-embed[masks]'`). Its names of the weights are translated
here, so that the checkpoint SAM 2 publishes serves as well as Hugging Face's.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.errors import CheckpointError, ConfigError
from pipeline.model.checkpoint import read_tensors
from pipeline.readers.predictors import image_embeddings
from pipeline.readers.row import FeatureRow

Point = tuple[float, float]

# Of one prompt, as in SAM 2's own predictor.
_MASK_THRESHOLD = 0.0
_SHARED = ("shared_image_embedding.positional_embedding", "prompt_encoder.shared_embedding.positional_embedding")
_NAMES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^no_memory_embedding$", "no_mem_embed"),
        (r"^shared_image_embedding\.", "prompt_encoder.shared_embedding."),
        (r"^prompt_encoder\.", "sam_prompt_encoder."),
        (r"^mask_decoder\.", "sam_mask_decoder."),
        (r"\.shared_embedding\.positional_embedding$", ".pe_layer.positional_encoding_gaussian_matrix"),
        (r"\.mask_embed\.conv1\.", ".mask_downscaling.0."),
        (r"\.mask_embed\.layer_norm1\.", ".mask_downscaling.1."),
        (r"\.mask_embed\.conv2\.", ".mask_downscaling.3."),
        (r"\.mask_embed\.layer_norm2\.", ".mask_downscaling.4."),
        (r"\.mask_embed\.conv3\.", ".mask_downscaling.6."),
        (r"\.upscale_conv1\.", ".output_upscaling.0."),
        (r"\.upscale_layer_norm\.", ".output_upscaling.1."),
        (r"\.upscale_conv2\.", ".output_upscaling.3."),
        (r"\.o_proj\.", ".out_proj."),
        (r"\.layer_norm(\d)\.", r".norm\1."),
        (r"\.layer_norm_final_attn\.", ".norm_final_attn."),
        (r"\.mlp\.proj_in\.", ".mlp.layers.0."),
        (r"\.mlp\.proj_out\.", ".mlp.layers.1."),
        (r"(_mlps\.\d|_head)\.layers\.0\.", r"\1.layers.1."),
        (r"(_mlps\.\d|_head)\.proj_in\.", r"\1.layers.0."),
        (r"(_mlps\.\d|_head)\.proj_out\.", r"\1.layers.2."),
    )
]


@dataclass(frozen=True)
class Masks:
    """What one prompt gave, best first: masks (M, height, width) bool in original pixels, predicted IoUs (M,)."""

    masks: np.ndarray
    ious: np.ndarray


class MaskDecoder:
    """SAM 2's prompt encoder and mask decoder.

    Args:
        checkpoint: of a whole SAM 2 model, as published or as Hugging Face has it.
        side_px: side of the square the image encoder saw, in pixels.

    Raises:
        ConfigError: transformers is not installed.
        CheckpointError: the file is not there, damaged, or lacks weights.
    """

    def __init__(self, checkpoint: Path, *, side_px: int = 1024) -> None:
        self._side_px = side_px
        self._model = _model(side_px)
        self._model.load_state_dict(_weights(decoder_state(side_px), checkpoint), strict=False, assign=True)
        self._model.eval()

    def predict(
        self,
        row: FeatureRow,
        points: Sequence[Point],
        *,
        background: Sequence[Point] = (),
        multimask: bool = True,
    ) -> Masks:
        """Masks of what lies at the points.

        Args:
            row: of `features=decoder`.
            points: (x, y) on it, in pixels of the original image.
            background: (x, y) beside it.
            multimask: give three masks, from which to choose, rather than one.

        Raises:
            FeatureSetError: the row is not of `features=decoder`.
            ConfigError: a point outside the image.
        """
        logits, ious = self.logits(row, points, background=background, multimask=multimask)
        full = functional.interpolate(logits[None], row.original_size, mode="bilinear", align_corners=False)[0]
        order = ious.argsort(descending=True)
        return Masks((full[order] > _MASK_THRESHOLD).numpy(), ious[order].numpy())

    def logits(
        self, row: FeatureRow, points: Sequence[Point], *, background: Sequence[Point] = (), multimask: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Logits (M, side/4, side/4) and predicted IoUs (M,) in the decoder's order; arguments as for `predict`."""
        height, width = row.original_size
        every = [*points, *background]
        for x, y in every:
            if not (0 <= x <= width and 0 <= y <= height):
                raise ConfigError(
                    f"point [{x:g},{y:g}] lies outside {row.image_id}, which is {width} x {height} pixels"
                )
        scale = torch.tensor([self._side_px / width, self._side_px / height])
        labels = [1] * len(points) + [0] * len(background)
        with torch.inference_mode():
            output = self._model(
                image_embeddings=image_embeddings(row),
                input_points=torch.tensor(every, dtype=torch.float32)[None, None] * scale,
                input_labels=torch.tensor(labels)[None, None],
                multimask_output=multimask,
            )
        return output.pred_masks[0, 0], output.iou_scores[0, 0]


def _model(side_px: int) -> Any:
    """Transformers' model, without memory for weights; its image encoder stays so."""
    try:
        from transformers import Sam2Config, Sam2Model
    except ImportError:
        raise ConfigError("masks take transformers, which is not installed: pip install 'sam2-embed[masks]'") from None
    config = Sam2Config()
    cells = side_px // 16
    config.prompt_encoder_config.image_size = side_px
    config.vision_config.backbone_config.image_size = [side_px, side_px]
    config.vision_config.backbone_feature_sizes = [[cells * 4] * 2, [cells * 2] * 2, [cells] * 2]
    with torch.device("meta"):
        return Sam2Model(config)


def decoder_state(side_px: int = 1024) -> dict[str, Tensor]:
    """The weights of all but the image encoder by transformers' names, on the meta device: shapes alone.

    Raises:
        ConfigError: transformers is not installed.
    """
    state = _model(side_px).state_dict()
    return {name: value for name, value in state.items() if not name.startswith("vision_encoder.")}


def published_name(name: str) -> str:
    """What SAM 2's own checkpoints call a weight that transformers has under `name`."""
    for pattern, replacement in _NAMES:
        name = pattern.sub(replacement, name)
    return name


def _weights(wanted: dict[str, Tensor], checkpoint: Path) -> dict[str, Tensor]:
    """Tensors by transformers' names out of a file with these or with the published ones.

    Raises:
        CheckpointError: some are missing or of another shape.
    """
    held = read_tensors(checkpoint, str(checkpoint))
    found = {name: _find(held, name) for name in wanted}
    wrong = [name for name, value in found.items() if value is None or value.shape != wanted[name].shape]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise CheckpointError(
            f"{checkpoint} is no checkpoint of a whole SAM 2 model: missing or of another shape: "
            f"{', '.join(map(published_name, wrong[:3]))}{more}"
        )
    return {name: value.float() for name, value in found.items() if value is not None}


def _find(held: dict[str, Tensor], name: str) -> Tensor | None:
    if name == "prompt_encoder.point_embed.weight" and name not in held:
        parts = [held.get(f"sam_prompt_encoder.point_embeddings.{number}.weight") for number in range(4)]
        known = [part for part in parts if part is not None]
        return torch.cat(known) if known else None
    # The prompt encoder and the model share one tensor, which a file may hold under either name.
    names = (name, published_name(name), *(_SHARED if name in _SHARED else ()))
    return next((held[each] for each in names if each in held), None)

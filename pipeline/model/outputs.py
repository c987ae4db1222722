"""What is kept of the encoder's output: which levels, in which form, and the pooled vector.

Maps leave as (N, H, W, C): the order in which the neck's 1x1 convolutions lie in memory anyway.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pipeline.errors import ConfigError
from pipeline.featureset.schema import MapSpec
from pipeline.model.build import instantiate_encoder
from pipeline.model.image_encoder import ImageEncoder
from pipeline.model.packed_way import Way, level_sizes

EncoderOutput = Mapping[str, Any]


def map_specs(tree: Mapping[str, Any], *, side_px: int, kind: str, dtype: str) -> tuple[MapSpec, ...]:
    """The maps a row holds, from fine to coarse, found without computing them.

    Args:
        tree: plain encoder configuration.
        side_px: side of the square input in pixels.
        kind: `fpn` (every level), `embed` (the coarsest one), `pooled` (none).
        dtype: numpy name of the stored numbers.

    Raises:
        ConfigError: the encoder does not take inputs of that size.
    """
    with torch.device("meta"):
        encoder = instantiate_encoder(tree).eval()
    try:
        shapes = _level_shapes(encoder, side_px)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"the encoder does not take images of {side_px} x {side_px} pixels: {error}") from None
    kept = {"fpn": range(len(shapes)), "embed": [len(shapes) - 1], "pooled": []}[kind]
    return tuple(MapSpec(f"fpn_{level}", level, shapes[level], dtype, side_px // shapes[level][-1]) for level in kept)


def _level_shapes(encoder: ImageEncoder, side_px: int) -> list[tuple[int, int, int]]:
    """The (C, H, W) of the levels; by arithmetic where it will do, for a forward pass on shapes takes a second."""
    pixels = torch.empty(1, 3, side_px, side_px, device="meta")
    encoder.trunk.check_pixels(pixels)
    if not (Way.exists(encoder.trunk, (side_px, side_px)) and encoder.neck.is_pointwise):
        with torch.device("meta"):
            return [_shape_chw(level) for level in encoder(pixels)["backbone_fpn"]]
    sizes = level_sizes(encoder.trunk, (side_px, side_px))
    levels = encoder.neck.add_coarser_levels([torch.zeros(1, 1, *size) for size in sizes])
    return [(encoder.neck.d_model, *level.shape[2:]) for level in levels[: len(levels) - encoder.scalp]]


def _shape_chw(map_BCHW: torch.Tensor) -> tuple[int, int, int]:
    _, channels, height, width = map_BCHW.shape
    return channels, height, width


def position_encodings(tree: Mapping[str, Any], maps: tuple[MapSpec, ...]) -> dict[str, np.ndarray]:
    """The position encoding that belongs to each map, by column: (H, W, C) float32.

    They depend on the map's shape alone, so no weights and no image are needed.
    """
    with torch.device("meta"):
        position_encoding = instantiate_encoder(tree).neck.position_encoding
    with torch.inference_mode():
        return {
            spec.column: position_encoding(torch.empty(1, *spec.shape_chw))[0].permute(1, 2, 0).contiguous().numpy()
            for spec in maps
        }


@dataclass(frozen=True)
class StoredFeatures:
    """What is kept of a batch: maps by column (N, H, W, C) in their stored dtype, pooled vectors (N, C) float32.

    Attributes:
        is_finite: (N,) bool; whether all numbers of an image are finite in the dtype they are stored in.
    """

    maps: dict[str, np.ndarray]
    embeddings: np.ndarray
    is_finite: np.ndarray

    def of_image(self, place: int) -> dict[str, np.ndarray]:
        """One image's maps by column, (H, W, C), and its pooled vector as `embedding`, (C,)."""
        return {**{column: values[place] for column, values in self.maps.items()}, "embedding": self.embeddings[place]}


def stored_features(output: EncoderOutput, maps: tuple[MapSpec, ...]) -> StoredFeatures:
    """What is kept of the encoder's output, on the CPU."""
    levels = output["backbone_fpn"]
    stored = {}
    for spec in maps:
        values = levels[spec.level].to(getattr(torch, spec.dtype)).permute(0, 2, 3, 1)
        stored[spec.column] = values.contiguous().cpu()
    pooled = pool(output).cpu()
    parts = [pooled, *stored.values()]
    finite = [all(_is_finite(part[image]) for part in parts) for image in range(len(pooled))]
    return StoredFeatures({name: part.numpy() for name, part in stored.items()}, pooled.numpy(), np.array(finite))


def _is_finite(values: torch.Tensor) -> bool:
    """Whether all are; the least and the greatest tell, twenty times as fast as asking each (NaN counts as both)."""
    return bool(torch.isfinite(torch.stack(values.aminmax())).all())


def pool(output: EncoderOutput) -> torch.Tensor:
    """The mean over the cells of the coarsest level, L2-normalised: (N, C) float32."""
    means_NC = output["vision_features"].to(torch.float32).mean(dim=(2, 3))
    return torch.nn.functional.normalize(means_NC, dim=1)

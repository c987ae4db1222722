"""What is kept of the encoder's output: which levels, in which form, and the pooled vector.

Maps leave as (N, H, W, C): the order in which the neck's 1x1 convolutions lie in memory anyway.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.errors import ConfigError
from pipeline.featureset.maps import GRID, Layout, MapSpec, level_maps
from pipeline.model.build import instantiate_encoder
from pipeline.model.decoder_inputs import NUM_LEVELS, DecoderInputs
from pipeline.model.image_encoder import ImageEncoder
from pipeline.model.packed_way import Way, level_sizes

EncoderOutput = Mapping[str, Any]

_GEM_FLOOR = 1e-6


@dataclass(frozen=True)
class FeatureChoice:
    """What is to be kept of the encoder's output.

    Attributes:
        kind: `fpn` (every level), `decoder` (what SAM 2's mask decoder takes), `embed` (the coarsest level), `pooled`
            (vectors alone).
        dtypes: numpy names of the stored numbers: one for all maps, or one a map from fine to coarse.
        levels: those to keep of `fpn` and `decoder`; None for all.
        layout: of map columns.
        grid: cells a side of the grid that vectors are kept of; None for no grid.
        pooling: `mean`, or `gem`, the generalised mean with exponent 3.
    """

    kind: str = "fpn"
    dtypes: tuple[str, ...] = ("float16",)
    levels: tuple[int, ...] | None = None
    layout: Layout = "blob"
    grid: int | None = None
    pooling: str = "mean"

    @property
    def for_decoder(self) -> bool:
        """Whether levels 0 and 1 go through the mask decoder's convolutions."""
        return self.kind == "decoder"


def map_specs(tree: Mapping[str, Any], side_px: int, choice: FeatureChoice) -> tuple[MapSpec, ...]:
    """The maps a row holds, from fine to coarse, found without computing them; a grid comes last.

    Args:
        tree: plain encoder configuration.
        side_px: side of the square input in pixels.
        choice: what is kept.

    Raises:
        ConfigError: the encoder does not take inputs of that size, has no such level, or none that the choice can be
            made of; or another number of dtypes than of maps.
    """
    with torch.device("meta"):
        encoder = instantiate_encoder(tree).eval()
        if choice.for_decoder:
            DecoderInputs(encoder.neck.d_model).fold_into(encoder)
    try:
        shapes = _level_shapes(encoder, side_px)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"the encoder does not take images of {side_px} x {side_px} pixels: {error}") from None
    kept = _kept_levels(choice, len(shapes))
    if len(choice.dtypes) not in (1, len(kept)):
        raise ConfigError(
            f"features.storage_dtype names {len(choice.dtypes)} dtypes for {len(kept)} maps: give one, or one each"
        )
    dtypes = choice.dtypes * len(kept) if len(choice.dtypes) == 1 else choice.dtypes
    maps = [
        MapSpec(_column(choice, level), level, shapes[level], dtype, side_px // shapes[level][-1], choice.layout)
        for level, dtype in zip(kept, dtypes, strict=True)
    ]
    if choice.grid is not None:
        channels, *sides = shapes[-1]
        if choice.grid > min(sides):
            raise ConfigError(
                f"features.grid={choice.grid} is finer than the coarsest level, {sides[0]} x {sides[1]} cells"
            )
        grid = (channels, choice.grid, choice.grid)
        maps.append(MapSpec(GRID, len(shapes) - 1, grid, "float16", side_px // choice.grid, choice.layout))
    return tuple(maps)


def _kept_levels(choice: FeatureChoice, num_levels: int) -> list[int]:
    own = {"embed": [num_levels - 1], "pooled": []}.get(choice.kind, list(range(num_levels)))
    if choice.levels is None:
        return own
    unknown = sorted(set(choice.levels) - set(own))
    if unknown or not choice.levels:
        raise ConfigError(f"features.levels={list(choice.levels)}: features={choice.kind} has levels {own}; name some")
    return sorted(set(choice.levels))


def _column(choice: FeatureChoice, level: int) -> str:
    return f"high_res_{level}" if choice.for_decoder and level < NUM_LEVELS - 1 else f"fpn_{level}"


def _level_shapes(encoder: ImageEncoder, side_px: int) -> list[tuple[int, int, int]]:
    """The (C, H, W) of the levels; by arithmetic where it will do, for a forward pass on shapes takes a second."""
    pixels = torch.empty(1, 3, side_px, side_px, device="meta")
    encoder.trunk.check_pixels(pixels)
    if not (Way.exists(encoder.trunk, (side_px, side_px)) and encoder.neck.is_pointwise):
        with torch.device("meta"):
            return [_shape_chw(level) for level in encoder(pixels)["backbone_fpn"]]
    sizes = level_sizes(encoder.trunk, (side_px, side_px))
    levels = encoder.neck.add_coarser_levels([torch.zeros(1, 1, *size) for size in sizes])
    channels = [lateral.out_channels for lateral in encoder.neck.laterals]
    kept = zip(channels, levels[: len(levels) - encoder.scalp], strict=False)
    return [(width, level.shape[2], level.shape[3]) for width, level in kept]


def _shape_chw(map_BCHW: Tensor) -> tuple[int, int, int]:
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
            for spec in level_maps(maps)
        }


@dataclass(frozen=True)
class StoredFeatures:
    """What is kept of a batch: maps by column (N, H, W, C) in their stored dtype, pooled vectors (N, C) float32.

    Scaled integers have their scales, (N, C) float32, beside them, by the name of their column.

    Attributes:
        is_finite: (N,) bool; whether all numbers of an image are finite in the dtype they are stored in.
    """

    maps: dict[str, np.ndarray]
    embeddings: np.ndarray
    is_finite: np.ndarray

    def of_image(self, place: int) -> dict[str, np.ndarray]:
        """One image's maps by column, (H, W, C), and its pooled vector as `embedding`, (C,)."""
        return {**{column: values[place] for column, values in self.maps.items()}, "embedding": self.embeddings[place]}


def stored_features(output: EncoderOutput, maps: tuple[MapSpec, ...], pooling: str = "mean") -> StoredFeatures:
    """What is kept of the encoder's output, on the CPU."""
    stored: dict[str, Tensor] = {}
    for spec in maps:
        values_NHWC = exact_map(output, spec).permute(0, 2, 3, 1)
        if spec.dtype == "int8":
            numbers, scale = spec.names
            stored[numbers], stored[scale] = _quantised(values_NHWC)
        else:
            stored[spec.column] = values_NHWC.to(getattr(torch, spec.dtype)).contiguous().cpu()
    pooled = pool(output, pooling).cpu()
    parts = [pooled, *(values for values in stored.values() if values.is_floating_point())]
    finite = [all(_is_finite(part[image]) for part in parts) for image in range(len(pooled))]
    return StoredFeatures({name: part.numpy() for name, part in stored.items()}, pooled.numpy(), np.array(finite))


def exact_map(output: EncoderOutput, spec: MapSpec) -> Tensor:
    """What a map is made of, (N, C, H, W), in the dtype the encoder gave."""
    if spec.column != GRID:
        level: Tensor = output["backbone_fpn"][spec.level]
        return level
    cells_NCHW = functional.adaptive_avg_pool2d(output["vision_features"].to(torch.float32), spec.shape_chw[1:])
    return functional.normalize(cells_NCHW, dim=1)


def _quantised(values_NHWC: Tensor) -> tuple[Tensor, Tensor]:
    """Integers from -127 to 127 and what to multiply them by, (N, C): the least that holds a channel's greatest."""
    values_NHWC = values_NHWC.to(torch.float32)
    scale_NC = values_NHWC.abs().amax(dim=(1, 2)) / 127
    steps_NHWC = values_NHWC / scale_NC.clamp(min=torch.finfo(torch.float32).tiny)[:, None, None]
    return steps_NHWC.round_().to(torch.int8).contiguous().cpu(), scale_NC.cpu()


def _is_finite(values: Tensor) -> bool:
    """Whether all are; the least and the greatest tell, twenty times as fast as asking each (NaN counts as both)."""
    return bool(torch.isfinite(torch.stack(values.aminmax())).all())


def pool(output: EncoderOutput, pooling: str = "mean") -> Tensor:
    """The coarsest level pooled over its cells, L2-normalised: (N, C) float32.

    Args:
        output: of the encoder.
        pooling: `mean`, or `gem`: the cube root of the mean of cubes, negative numbers taken as nothing (Radenovic et
            al. 2018, Fine-tuning CNN Image Retrieval with No Human Annotation, equation 3 with p = 3).
    """
    level_NCHW = output["vision_features"].to(torch.float32)
    if pooling == "gem":
        vectors_NC = level_NCHW.clamp(min=_GEM_FLOOR).pow(3).mean(dim=(2, 3)).pow(1 / 3)
    else:
        vectors_NC = level_NCHW.mean(dim=(2, 3))
    return functional.normalize(vectors_NC, dim=1)

"""One image's features as tensors; torch is loaded when the first tensor is asked for."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import FeatureSetError
from pipeline.featureset.maps import DECODER_COLUMNS, GRID
from pipeline.featureset.part import Box
from pipeline.featureset.schema import TILES

if TYPE_CHECKING:
    import torch


LoadPositions = Callable[[], tuple[np.ndarray, ...]]


@dataclass(frozen=True)
class FeatureRow:
    """The features of one image; maps are views of the bytes that were read, nothing is copied.

    Attributes:
        image_id: the image.
        uri: where the image was when it was embedded.
        original_size: (height, width) of the image before it was resized, in pixels.
        maps: stored maps by column, from fine to coarse, (C, H, W).
        load_positions: gives the position encodings in the same order.
        load_embedding: gives the pooled vector; reads it unless it came along with the maps.
        no_mem_embed: SAM 2's vector of that name, (256,) float32; None if the set is not of `features=decoder`.
        extra: what the source said of the image besides, by column: its `part` of the object at `uri`, for example.
    """

    image_id: str
    uri: str
    original_size: tuple[int, int]
    maps: Mapping[str, np.ndarray]
    load_positions: LoadPositions
    load_embedding: Callable[[], np.ndarray]
    no_mem_embed: np.ndarray | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def embedding(self) -> np.ndarray:
        """The pooled vector, (256,) float32, L2-normalised.

        Raises:
            FeatureSetError, AccessDeniedError, StoreUnavailableError: it was not read with the maps, and cannot be.
        """
        return self.load_embedding()

    @property
    def box(self) -> Box | None:
        """(left, top, width, height) in pixels of the large image that this is a tile of; None if it is none."""
        left, top, width, height = (self.extra.get(name) for name in TILES.names[:4])
        return None if left is None or top is None or width is None or height is None else (left, top, width, height)

    @property
    def scale(self) -> tuple[float, float] | None:
        """(down, across): pixels of the encoder's input to a pixel of the large image; None if this is no tile.

        Cell (i, j) of a map of H x W cells is of the image's rows from `top + i * height / H` on, `height / H` of them,
        and of its columns from `left + j * width / W` on.
        """
        down, across = (self.extra.get(name) for name in TILES.names[-2:])
        return None if down is None or across is None else (down, across)

    @property
    def backbone_fpn(self) -> "list[torch.Tensor]":
        """The stored levels from high to low resolution, (C, H, W), in the stored dtype (int8: as float32).

        With `features=decoder` these are what SAM 2's `forward_image` gives, as the video predictor takes them:
        `no_mem_embed` is not added.
        """
        return [as_tensor(values) for column, values in self.maps.items() if column != GRID]

    @property
    def image_embeddings(self) -> "list[torch.Tensor]":
        """What SAM 2's mask decoder takes, float32: (32, 256, 256), (64, 128, 128) and (256, 64, 64) at 1024 px.

        `no_mem_embed` is added to the last, as in `SAM2ImagePredictor` after `set_image` and in the `image_embeddings`
        of transformers' `Sam2Model`; both have a batch dimension more, see `pipeline.readers.predictors`.

        Raises:
            FeatureSetError: the set is not of `features=decoder`, or lacks one of its levels.
        """
        if self.no_mem_embed is None:
            raise FeatureSetError(
                "this feature set does not hold what the mask decoder takes: embed with features=decoder"
            )
        missing = [column for column in DECODER_COLUMNS if column not in self.maps]
        if missing:
            raise FeatureSetError(
                f"the mask decoder takes three maps, and {', '.join(missing)} is not among those here"
            )
        *high_res, coarsest = [as_tensor(self.maps[column].astype(np.float32)) for column in DECODER_COLUMNS]
        return [*high_res, coarsest + as_tensor(self.no_mem_embed)[:, None, None]]

    @property
    def grid(self) -> "torch.Tensor":
        """A vector a cell of a grid over the image, (256, G, G), each L2-normalised.

        Raises:
            FeatureSetError: the set has no grid.
        """
        if GRID not in self.maps:
            raise FeatureSetError("this feature set has no grid: embed with features.grid=4 or 8")
        return as_tensor(self.maps[GRID])

    @property
    def vision_pos_enc(self) -> "list[torch.Tensor]":
        """The position encodings of the stored levels, (C, H, W) float32; the same for every image.

        Raises:
            FeatureSetError: the stored encodings are missing or damaged.
        """
        return [as_tensor(values) for values in self.load_positions()]

    @property
    def vision_features(self) -> "torch.Tensor":
        """The level of lowest resolution, (C, H, W).

        Raises:
            FeatureSetError: the set holds pooled vectors only.
        """
        levels = self.backbone_fpn
        if not levels:
            raise FeatureSetError("this feature set holds pooled vectors only: row.pooled, or embed with features=fpn")
        return levels[-1]

    @property
    def pooled(self) -> "torch.Tensor":
        """The pooled vector, (256,) float32, L2-normalised."""
        return as_tensor(self.embedding)

    def __repr__(self) -> str:
        shapes = ", ".join(str(values.shape) for values in self.maps.values())
        return f"FeatureRow({self.image_id!r}, original_size={self.original_size}, maps: {shapes or 'none'})"


def as_tensor(values: np.ndarray) -> "torch.Tensor":
    """The values as a tensor, without a copy."""
    import torch

    with warnings.catch_warnings():
        # Arrow marks its buffers read-only; this one belongs to this row alone, writing to it harms nobody.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(values)

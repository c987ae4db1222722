"""One image's features as tensors; torch is loaded when the first tensor is asked for."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import FeatureSetError

if TYPE_CHECKING:
    import torch


LoadPositions = Callable[[], tuple[np.ndarray, ...]]


@dataclass(frozen=True)
class FeatureRow:
    """The features of one image; maps are views of the bytes that were read, nothing is copied.

    Attributes:
        image_id: the image.
        original_size: (height, width) of the image before it was resized, in pixels.
        maps: stored maps from fine to coarse, (C, H, W).
        load_positions: gives the position encodings in the same order.
        load_embedding: gives the pooled vector; reads it unless it came along with the maps.
    """

    image_id: str
    original_size: tuple[int, int]
    maps: tuple[np.ndarray, ...]
    load_positions: LoadPositions
    load_embedding: Callable[[], np.ndarray]

    @cached_property
    def embedding(self) -> np.ndarray:
        """The pooled vector, (256,) float32, L2-normalised.

        Raises:
            FeatureSetError, AccessDeniedError, StoreUnavailableError: it was not read with the maps, and cannot be.
        """
        return self.load_embedding()

    @property
    def backbone_fpn(self) -> "list[torch.Tensor]":
        """The stored levels from high to low resolution, (C, H, W), in the stored dtype."""
        return [as_tensor(values) for values in self.maps]

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
        if not self.maps:
            raise FeatureSetError("this feature set holds pooled vectors only: row.pooled, or embed with features=fpn")
        return as_tensor(self.maps[-1])

    @property
    def pooled(self) -> "torch.Tensor":
        """The pooled vector, (256,) float32, L2-normalised."""
        return as_tensor(self.embedding)

    def __repr__(self) -> str:
        shapes = ", ".join(str(values.shape) for values in self.maps)
        return f"FeatureRow({self.image_id!r}, original_size={self.original_size}, maps: {shapes or 'none'})"


def as_tensor(values: np.ndarray) -> "torch.Tensor":
    """The values as a tensor, without a copy."""
    import torch

    with warnings.catch_warnings():
        # Arrow marks its buffers read-only; this one belongs to this row alone, writing to it harms nobody.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(values)

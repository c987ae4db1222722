"""Three transforms of tensors, as `sam2.utils.transforms` calls them."""

import numpy as np
import torch
from torch import Tensor, nn


class ToTensor:
    """(H, W, C) uint8 to (C, H, W) float32 between 0 and 1."""

    def __call__(self, image: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255


class Resize(nn.Module):
    """Antialiased bilinear, as torchvision's default."""

    def __init__(self, size: list[int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, image: Tensor) -> Tensor:
        return nn.functional.interpolate(image[None], [int(s) for s in self.size], mode="bilinear", antialias=True)[0]


class Normalize(nn.Module):
    """Minus mean, divided by deviation, channel by channel."""

    def __init__(self, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, image: Tensor) -> Tensor:
        return (image - self.mean) / self.std

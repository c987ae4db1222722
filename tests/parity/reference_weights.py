"""Stand-in weights and pixels that the goldens were computed from by the published SAM 2 code.

Every tensor depends on its name and shape alone, so two implementations with the same parameter names get the same
weights without a file.
"""

import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def tensor_for(name: str, shape: tuple[int, ...]) -> Tensor:
    """The float32 stand-in value of the parameter `name`."""
    values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, dtype=np.float32)
    if ".norm" in name and name.endswith("weight"):
        values = 1.0 + 0.1 * values
    elif name.endswith("bias"):
        values = 0.05 * values
    elif "pos_embed" in name or "no_mem_embed" in name:
        values = 0.5 * values
    else:
        values = values / np.sqrt(int(np.prod(shape[1:])) or 1)
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def fill(state_dict: Mapping[str, Tensor], prefix: str = "image_encoder.") -> dict[str, Tensor]:
    """Stand-in values for a state dict; `prefix` is put before each name."""
    return {name: tensor_for(prefix + name, tuple(value.shape)) for name, value in state_dict.items()}


def pixels(height: int, width: int, batch: int = 1, seed: int = 7) -> Tensor:
    """The float32 input, (batch, 3, height, width)."""
    values = np.random.default_rng(seed).standard_normal((batch, 3, height, width), dtype=np.float32)
    return torch.from_numpy(values)


def sample_indices(numel: int, count: int = 2048) -> np.ndarray:
    """The flat indices (C order) at which a golden keeps values."""
    return np.sort(np.random.default_rng(numel).choice(numel, size=min(count, numel), replace=False))

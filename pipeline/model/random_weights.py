"""Seeded, untrained weights, for runs that test the machinery and for models without a checkpoint.

Every tensor depends on the seed and its own name alone, so all workers get the same weights whatever their
version of torch and whatever order a model is built in.
"""

import math
import zlib

import numpy as np
import torch
from torch import nn

POSITION_SCALE = 0.02


def fill_random(encoder: nn.Module, seed: int) -> None:
    """Overwrite an encoder's weights, in place, with values that keep activations of about unit size.

    Norms become the identity, biases zero, and all other weights normal with the variance of their fan-in.

    Args:
        encoder: on the CPU.
        seed: non-negative.
    """
    with torch.no_grad():
        for name, parameter in encoder.state_dict().items():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.ndim == 1:
                parameter.fill_(1.0)
            else:
                parameter.copy_(torch.from_numpy(_normal(name, tuple(parameter.shape), seed)))


def _normal(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    values = np.random.default_rng([seed, zlib.crc32(name.encode())]).standard_normal(shape, dtype=np.float32)
    scale = POSITION_SCALE if "pos_embed" in name else 1.0 / math.sqrt(math.prod(shape[1:]))
    values *= np.float32(scale)
    return values

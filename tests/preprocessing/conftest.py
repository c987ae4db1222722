"""Encoded images, small and real."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

Encode = Callable[..., bytes]


@pytest.fixture(scope="session")
def pixels_HWC() -> np.ndarray:
    """A 48 x 64 picture: smooth, so that JPEG keeps it, and different in every corner."""
    rows, columns = np.mgrid[0:48, 0:64]
    return np.stack([rows * 5, columns * 3, (rows + columns) * 2], axis=-1).astype(np.uint8)


@pytest.fixture(scope="session")
def encode(pixels_HWC: np.ndarray) -> Encode:
    """Encodes the picture, or a Pillow image, in a format."""

    def encoded(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
        stream = io.BytesIO()
        (image or Image.fromarray(pixels_HWC)).save(stream, kind, **options)
        return stream.getvalue()

    return encoded


@pytest.fixture(scope="session")
def noise() -> Image.Image:
    """A picture that no format makes small: whatever is cut off, pixels are missing."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))

"""What people are told of the weights that features were made with."""

from collections.abc import Mapping
from typing import Any


def weights_text(weights: Mapping[str, Any]) -> str:
    """What the features were made with, in a few words; random weights are called so."""
    if weights["kind"] == "random":
        return f"random (seed {weights['seed']}, untrained)"
    return f"checkpoint sha256 {weights['sha256']}"

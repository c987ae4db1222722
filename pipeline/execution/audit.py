"""Which images of a run are embedded again by the reference way, and how far from that the stored features are."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.featureset.maps import MapSpec, scaled
from pipeline.model.image_encoder import ImageEncoder
from pipeline.model.outputs import exact_map, pool


@dataclass(frozen=True)
class AuditPlan:
    """So many images of a run, spread evenly over its units."""

    num_images: int
    num_units: int

    def places(self, unit: int, size: int) -> list[int]:
        """The places of the images to audit among `size` images of a unit."""
        units = [number * self.num_units // self.num_images for number in range(self.num_images)]
        wanted = min(units.count(unit), size)
        return [number * size // wanted for number in range(wanted)]


def audit(
    encoder: ImageEncoder,
    pixels_CHW: np.ndarray,
    stored: Mapping[str, np.ndarray],
    *,
    maps: tuple[MapSpec, ...],
    pooling: str = "mean",
) -> dict[str, float]:
    """Relative L2 errors of one image's stored columns against its features from the modules, in float32.

    Args:
        encoder: what gave the stored ones.
        pixels_CHW: what it was given, (3, side, side) float32.
        stored: maps by column, (H, W, C), scales, (C,), and `embedding`, (C,).
        maps: what the columns are.
        pooling: how the vector is pooled.
    """
    device = next(encoder.parameters()).device
    with torch.inference_mode():
        output = encoder.encode_exactly(torch.tensor(pixels_CHW, device=device)[None])
        exact = {spec.column: exact_map(output, spec)[0].permute(1, 2, 0) for spec in maps}
        exact["embedding"] = pool(output, pooling)[0]
    found = {
        **stored,
        **{spec.column: scaled(*(stored[name] for name in spec.names)) for spec in maps if spec.is_scaled},
    }
    return {column: _relative_l2(found[column], values.cpu()) for column, values in exact.items()}


def _relative_l2(stored: np.ndarray, exact: torch.Tensor) -> float:
    difference = torch.from_numpy(stored).to(torch.float32) - exact
    return float(torch.linalg.vector_norm(difference) / torch.linalg.vector_norm(exact))

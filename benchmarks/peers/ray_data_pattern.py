"""Batch inference as Ray Data's documentation shows it, with transformers' encoder in bf16, to Parquet.

What a user would write first: read_images, map, map_batches over a class in an actor pool, write_parquet.
    python benchmarks/peers/ray_data_pattern.py PHOTOS OUT
"""

import sys
from typing import Any

import numpy as np
import ray
import torch
from vision_models import vision_model

MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def preprocess(row: dict[str, Any]) -> dict[str, Any]:
    """One image as the encoder takes it."""
    pixels = torch.from_numpy((row["image"] / 255.0 - MEAN) / DEVIATION).permute(2, 0, 1)[None].float()
    resized = torch.nn.functional.interpolate(pixels, (1024, 1024), mode="bilinear", antialias=True)
    return {"path": row["path"], "pixels": resized[0].numpy()}


class Encoder:
    """Holds the model."""

    def __init__(self) -> None:
        self.model = vision_model("sam2.1_hiera_tiny").to(torch.bfloat16)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Pixels to features."""
        with torch.inference_mode():
            maps = self.model(torch.from_numpy(batch["pixels"]).to(torch.bfloat16)).fpn_hidden_states
        features = {f"fpn_{level}": maps[level].to(torch.float16).numpy() for level in range(3)}
        return {"path": batch["path"], **features}


if __name__ == "__main__":
    # Two logical CPUs would leave nothing to read with once the actor has its own.
    ray.init(address="local", num_cpus=5, include_dashboard=False)
    (
        ray.data.read_images(sys.argv[1], include_paths=True, mode="RGB")
        .map(preprocess)
        .map_batches(Encoder, batch_size=4, compute=ray.data.ActorPoolStrategy(size=1), num_cpus=2)
        .write_parquet(sys.argv[2])
    )

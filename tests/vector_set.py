"""Feature sets whose pooled vectors, grids and URIs a test chooses, made by the real sinks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.featureset.fingerprint import CODE_VERSION
from pipeline.featureset.maps import MapSpec
from pipeline.featureset.records import Manifest
from pipeline.model.build import build_encoder, load_encoder_config
from pipeline.model.outputs import pool
from pipeline.preprocessing.transform import DESCRIPTION, preprocess
from pipeline.sinks.feature_sets import claim_feature_set
from pipeline.sinks.shards import EmbeddedImages
from pipeline.storage.folder import Folder
from tests.small_set import SETTINGS, SmallSet, original_size

_PER_UNIT = 512


def grid_spec(side: int, dtype: str = "float32") -> MapSpec:
    """A grid of side x side cells."""
    return MapSpec("grid", 2, (256, side, side), dtype, 16)


def gaussian(count: int, seed: int = 0) -> np.ndarray:
    """L2-normalised (count, 256) float32 vectors without any clusters."""
    return normalised(np.random.default_rng(seed).standard_normal((count, 256), dtype=np.float32))


def clustered(count: int, seed: int = 0, num_clusters: int = 100) -> np.ndarray:
    """L2-normalised (count, 256) float32 vectors around a hundred centres."""
    chance = np.random.default_rng(seed)
    centres = chance.standard_normal((num_clusters, 256), dtype=np.float32)
    spread = chance.standard_normal((count, 256), dtype=np.float32)
    return normalised(centres[chance.integers(0, num_clusters, count)] + 0.5 * spread)


def normalised(vectors: np.ndarray) -> np.ndarray:
    """The vectors at length one."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def near(vector: np.ndarray, similarity: float, seed: int = 0) -> np.ndarray:
    """A vector at that cosine similarity to another."""
    noise = np.random.default_rng(seed).standard_normal(256).astype(np.float32)
    noise -= (noise @ vector) * vector
    return similarity * vector + np.sqrt(1 - similarity**2) * noise / np.linalg.norm(noise)


def names(count: int, first: int = 0) -> list[str]:
    """That many image ids."""
    return [f"photos/{number:05d}.jpg" for number in range(first, first + count)]


class VectorSet(SmallSet):
    """A feature set that is embedded vector by vector.

    Args:
        place: where it goes.
        maps: of a row.
        settings: of the set.
        folder: that the images' URIs are in.
    """

    def __init__(
        self,
        place: Path | str,
        maps: tuple[MapSpec, ...] = (),
        *,
        settings: Mapping[str, Any] = SETTINGS,
        folder: Path | str = "/data",
    ) -> None:
        self.root = Folder(place)
        self.uri, self.maps, self.folder = self.root.uri, maps, folder
        self.positions = {spec.column: np.zeros((*spec.shape_chw[1:], spec.shape_chw[0]), np.float32) for spec in maps}
        self.record = claim_feature_set(self.root, settings=settings, maps=maps, positions=self.positions)
        self.vectors: dict[str, np.ndarray] = {}
        self.grids: dict[str, np.ndarray] = {}

    def embed_vectors(
        self, ids: Sequence[str], vectors: np.ndarray, *, grids: np.ndarray | None = None, bad: Sequence[str] = ()
    ) -> Manifest:
        """A run of these images: vectors (N, 256) and, if the set has a grid, grids (N, side * side, 256)."""
        self.vectors |= dict(zip(ids, vectors, strict=True))
        self.grids |= {} if grids is None else dict(zip(ids, grids, strict=True))
        return self.embed([ids[first : first + _PER_UNIT] for first in range(0, len(ids), _PER_UNIT)], bad=bad)

    def images(self, ids: Sequence[str], version: str = "1") -> EmbeddedImages:
        """The features of these images."""
        assert version
        shapes = {spec.column: (len(ids), *spec.shape_chw[1:], spec.shape_chw[0]) for spec in self.maps}
        return EmbeddedImages(
            image_ids=list(ids),
            uris=[f"{self.folder}/{image_id}" for image_id in ids],
            original_sizes=[original_size(image_id) for image_id in ids],
            maps={
                column: np.stack([self.grids[each] for each in ids]).reshape(shape) for column, shape in shapes.items()
            },
            embeddings=np.stack([self.vectors[image_id] for image_id in ids]).astype(np.float32),
        )


def debug_settings(weights: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a set of pooled vectors that `hiera_debug` makes in fp32."""
    config = load_encoder_config("hiera_debug")
    return {
        "code_version": CODE_VERSION,
        "encoder": config.tree,
        "weights": dict(weights),
        "preprocessing": {**DESCRIPTION, "side_px": config.side_px},
        "features": "pooled",
        "storage_dtype": "float16",
        "precision": "fp32",
    }


def embedded_photos(place: Path, folder: Path, ids: Sequence[str]) -> VectorSet:
    """A set of the pooled vectors that `hiera_debug` with random weights gives for the images in a folder."""
    settings = debug_settings({"kind": "random", "seed": 0})
    encoder = build_encoder("hiera_debug", checkpoint="random")
    pixels = torch.stack([preprocess(folder / image_id, side_px=128) for image_id in ids])
    with torch.inference_mode():
        vectors = pool(encoder(pixels)).numpy()
    made = VectorSet(place, settings=settings, folder=folder)
    made.embed_vectors(ids, vectors)
    return made

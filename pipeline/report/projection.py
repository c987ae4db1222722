"""Vectors as points of a plane."""

import numpy as np

from pipeline.report.components import principal_components


def plane(vectors: np.ndarray) -> tuple[np.ndarray, float]:
    """A point for each of (N, D) vectors, (N, 2) float32 within -1 to 1, and the share of variance that it shows."""
    if len(vectors) < 2:
        return np.zeros((len(vectors), 2), np.float32), 0.0
    mean, components, share = principal_components(vectors, 2)
    points = (vectors - mean) @ components
    centred = points - (points.max(axis=0) + points.min(axis=0)) / 2
    return centred / max(float(np.abs(centred).max()), 1e-12), share

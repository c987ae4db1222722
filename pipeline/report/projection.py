"""Vectors as points of a plane: each is drawn to its nearest and pushed away from others, beginning with a projection.

The method of UMAP and its kin, in numpy alone: of the neighbours it keeps as many, in a tenth of their time and without
their packages (see docs/decisions.md).
"""

import numpy as np
from scipy.spatial import cKDTree

from pipeline.report.components import principal_components

_ROUNDS, _PUSHES = 200, 4
_MOST_FORCE = 4.0


def plane(vectors: np.ndarray, nearest: np.ndarray) -> tuple[np.ndarray, float]:
    """A point for each vector, and how well the points tell who is near; the same vectors give the same points.

    Args:
        vectors: (N, D) float32.
        nearest: the numbers of the nearest of each, (N, K).

    Returns:
        (N, 2) float64 within -1 to 1, and the share of the nearest that are among as many nearest points.
    """
    if len(vectors) < 2:
        return np.zeros((len(vectors), 2)), 1.0
    mean, components, _ = principal_components(vectors, 2)
    points = _within(((vectors - mean) @ components).astype(np.float64)) * np.sqrt(len(vectors)) / 3
    chance = np.random.default_rng(0)
    points += 1e-3 * chance.standard_normal(points.shape)  # copies would never come apart
    for number in range(_ROUNDS):
        points += (1 - number / _ROUNDS) * _forces(points, nearest, chance)
    return _within(points), _share_kept(points, nearest)


def _forces(points: np.ndarray, nearest: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Where each point is to go: towards its nearest, whom it draws too, and away from a few others by chance."""
    count, num_nearest = nearest.shape
    heads, tails = np.repeat(np.arange(count), num_nearest), nearest.ravel()
    apart = points[heads] - points[tails]
    pull = np.clip(-2 * apart / (1 + (apart**2).sum(axis=1, keepdims=True)), -_MOST_FORCE, _MOST_FORCE) / num_nearest
    total = np.column_stack(
        [np.bincount(heads, each, count) - np.bincount(tails, each, count) for each in (pull[:, 0], pull[:, 1])]
    )
    for _ in range(_PUSHES):
        apart = points - points[chance.permutation(count)]
        square = (apart**2).sum(axis=1, keepdims=True)
        total += np.clip(2 * apart / ((1e-3 + square) * (1 + square)), -_MOST_FORCE, _MOST_FORCE)
    return np.clip(total, -_MOST_FORCE, _MOST_FORCE)


def _within(points: np.ndarray) -> np.ndarray:
    """The points around 0, within -1 to 1."""
    centred = points - (points.max(axis=0) + points.min(axis=0)) / 2
    scaled: np.ndarray = centred / max(float(np.abs(centred).max()), 1e-12)
    return scaled


def _share_kept(points: np.ndarray, nearest: np.ndarray) -> float:
    count = nearest.shape[1]
    found = np.asarray(cKDTree(points).query(points, k=count + 1)[1])
    num_kept = 0
    for number, (there, here) in enumerate(zip(found, nearest, strict=True)):
        num_kept += len(set(there[there != number][:count].tolist()) & set(here.tolist()))
    return num_kept / nearest.size

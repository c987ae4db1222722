"""The nearest of each vector among the others, exactly; there are some thousands."""

import numpy as np

_ROWS_AT_ONCE = 1024


def nearest(vectors: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the nearest others of each vector, nearest first, and their cosine similarities.

    Args:
        vectors: (N, D) float32, L2-normalised.
        count: how many; N - 1 if there are no more.

    Returns:
        (N, count) int64 and float32; of equal similarities the smaller number comes first.
    """
    count = min(count, max(len(vectors) - 1, 0))
    numbers, similarities = [], []
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        part = vectors[start : start + _ROWS_AT_ONCE] @ vectors.T
        part[np.arange(len(part)), start + np.arange(len(part))] = -np.inf
        found = np.argpartition(-part, min(count, part.shape[1] - 1), axis=1)[:, :count]
        values = np.take_along_axis(part, found, axis=1)
        order = np.lexsort((found, -values), axis=1)
        numbers.append(np.take_along_axis(found, order, axis=1))
        similarities.append(np.take_along_axis(values, order, axis=1))
    if not numbers:
        return np.zeros((0, 0), np.int64), np.zeros((0, 0), np.float32)
    return np.concatenate(numbers), np.concatenate(similarities)

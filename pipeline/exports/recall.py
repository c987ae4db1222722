"""How much of an exact search a faster one finds, and how many lists it takes to find enough.

An index is only as good as what is measured on its own vectors: isotropic ones want nearly every list, clustered ones a
few. Queries are vectors of the set; a query does not count as its own neighbour.
"""

from dataclasses import dataclass

import faiss
import numpy as np

from pipeline.exports.lists import Lists

K = 10
TARGET = 0.95
# Neighbours as near as the last true one count as found: float16 moves a similarity by about this much.
_TIE = 2e-5


class ExactNeighbours:
    """The true nearest neighbours of some vectors of the set, found while all of them pass by.

    Args:
        queries: (Q, D) float32.
        numbers: theirs, (Q,).
        num_vectors: of the set.
    """

    def __init__(self, queries: np.ndarray, numbers: np.ndarray, num_vectors: int) -> None:
        self._queries, self._own = np.ascontiguousarray(queries), numbers
        self._k = min(K + 1, num_vectors)
        self._heap = faiss.ResultHeap(len(queries), self._k, keep_max=True)
        self._first = 0

    def add(self, vectors: np.ndarray) -> None:
        """The next (N, D) float32 vectors of the set."""
        metric = faiss.METRIC_INNER_PRODUCT
        similarities, numbers = faiss.knn(self._queries, vectors, min(self._k, len(vectors)), metric=metric)
        self._heap.add_result(similarities, numbers + self._first)
        self._first += len(vectors)

    def found(self) -> tuple[np.ndarray, np.ndarray]:
        """Similarities (Q, k) and numbers (Q, k) of the nearest, best first."""
        self._heap.finalize()
        return without_own(self._heap.D, self._heap.I, self._own)


@dataclass(frozen=True)
class Effort:
    """Lists to search, and the share of true neighbours found by it, measured with so many queries."""

    num_probes: int
    recall: float
    num_queries: int


def measured_effort(lists: Lists, queries: np.ndarray, own: np.ndarray, *, exact: ExactNeighbours) -> Effort:
    """The least effort at which the recall is above the target, with 98% certainty.

    Which list holds a true neighbour says at once how many must be searched to find it; a real search confirms it.

    Args:
        lists: all vectors.
        queries: (Q, D) float32.
        own: their numbers, (Q,).
        exact: what is to be found.
    """
    if len(lists) == 1:
        return Effort(1, 1.0, 0)
    similarities, numbers = exact.found()
    num_probes = _enough(lists.ranks(queries, numbers), lists.num_lists)
    while True:
        found = without_own(*lists.search(queries, numbers.shape[1] + 1, num_probes), own)
        shares = _shares(found, similarities, numbers)
        if _is_enough(shares) or num_probes == lists.num_lists:
            return Effort(num_probes, float(shares.mean()), len(queries))
        num_probes = min(num_probes + 1 + num_probes // 10, lists.num_lists)


def without_own(similarities: np.ndarray, numbers: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The results (Q, k) without each query itself, or without the last where it is not among them: (Q, k - 1)."""
    drop = numbers == own[:, None]
    drop[:, -1] |= ~drop.any(axis=1)
    shape = (len(numbers), numbers.shape[1] - 1)
    return similarities[~drop].reshape(shape), numbers[~drop].reshape(shape)


def _shares(found: tuple[np.ndarray, np.ndarray], similarities: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Of each query the share of its true neighbours, or of others as near, that were found."""
    is_true = (found[1][:, :, None] == numbers[:, None, :]).any(axis=2)
    is_as_near = (found[1] >= 0) & (found[0] >= similarities[:, -1:] - _TIE)
    return np.asarray((is_true | is_as_near).mean(axis=1))


def _is_enough(shares: np.ndarray) -> bool:
    return bool(shares.mean() - 2 * shares.std() / np.sqrt(len(shares)) >= TARGET)


def _enough(ranks: np.ndarray, num_lists: int) -> int:
    """The least number of lists that hold enough of the true neighbours."""
    low, high = 1, num_lists
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _is_enough((ranks < middle).mean(axis=1)) else (middle + 1, high)
    return low

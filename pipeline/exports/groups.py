"""Groups of vectors: neighbours above a similarity, and whoever is a neighbour's neighbour.

Each vector is searched for in so many lists as 998 in 1,000 pairs of that similarity take; memory holds the vectors of
one list, a bounded number of pairs, and a few numbers a vector.
"""

from collections.abc import Iterator

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.exports.building import Sample
from pipeline.exports.lists import Lists

# Of a vector; copies of one image by the thousand still hang together, since ties go to the same ones.
_NUM_NEIGHBOURS = 32
_FOUND_SHARE = 0.998
_MIN_PAIRS = 100
_ROWS_AT_ONCE = 4096
_MAX_PAIRS = 5_000_000
# float16 moves a similarity by about so much.
_ROUNDING = 2e-5


def probes_for(lists: Lists, sample: Sample, min_similarity: float) -> int:
    """How many lists hold 998 in 1,000 near-duplicates of a vector.

    Measured with pairs of the sample; where those are few, with twins of its vectors at just that similarity.
    """
    similarities, numbers = sample.exact.found()
    is_pair = similarities >= min_similarity
    if is_pair.sum() >= _MIN_PAIRS:
        ranks = lists.ranks(sample.queries, numbers)[is_pair]
    else:
        ranks = lists.ranks(twins(sample.queries, min_similarity), sample.own[:, None])
    return int(np.quantile(ranks, _FOUND_SHARE, method="higher")) + 1


def twins(vectors: np.ndarray, similarity: float) -> np.ndarray:
    """For each (N, D) vector one at that similarity to it, in a random direction."""
    noise = np.random.default_rng(1).standard_normal(vectors.shape, dtype=np.float32)
    noise -= (noise * vectors).sum(axis=1, keepdims=True) * vectors
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return np.asarray(similarity * vectors + np.sqrt(1 - similarity**2) * noise, dtype=np.float32)


def group_numbers(lists: Lists, num_probes: int, min_similarity: float) -> np.ndarray:
    """The group of each vector, (N,) int64, numbered from the largest group on; -1 for those without a neighbour."""
    labels = np.arange(len(lists))
    pairs: list[np.ndarray] = []
    for found in _pairs(lists, num_probes, min_similarity):
        pairs.append(found)
        if sum(map(len, pairs)) > _MAX_PAIRS:
            labels, pairs = _merged(labels, pairs), []
    labels = _merged(labels, pairs)
    sizes = np.bincount(labels, minlength=len(lists))
    order = np.argsort(-sizes, kind="stable")  # of two as large, the one with the first image
    renumbered = np.full(len(lists), -1)
    renumbered[order[: int((sizes > 1).sum())]] = np.arange(int((sizes > 1).sum()))
    return np.asarray(renumbered[labels])


def _pairs(lists: Lists, num_probes: int, min_similarity: float) -> Iterator[np.ndarray]:
    """Neighbours above the similarity, (P, 2) vector numbers; list by list, for they are neighbours on disk too."""
    lengths = _lengths(lists)
    for number in range(lists.num_lists):
        own, vectors = lists.members(number)
        for start in range(0, len(own), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            similarities, numbers = lists.search(vectors[part], min(_NUM_NEIGHBOURS, len(lists)), num_probes)
            similarities /= lengths[own[part, None]] * lengths[numbers]
            near = (similarities >= min_similarity - _ROUNDING) & (numbers >= 0) & (numbers != own[part, None])
            yield np.stack([np.broadcast_to(own[part, None], numbers.shape)[near], numbers[near]], axis=1)


def _lengths(lists: Lists) -> np.ndarray:
    """The lengths of all vectors, (N,) float32: near one, but in float16 not near enough to tell copies."""
    lengths = np.empty(len(lists), np.float32)
    for number in range(lists.num_lists):
        own, vectors = lists.members(number)
        lengths[own] = np.linalg.norm(vectors, axis=1)
    return lengths


def _merged(labels: np.ndarray, pairs: list[np.ndarray]) -> np.ndarray:
    """Labels after joining pairs; a label is the number of its group's first vector."""
    joined = np.concatenate([np.empty((0, 2), np.int64), *pairs])
    every = np.concatenate([joined, np.stack([np.arange(len(labels)), labels], axis=1)])
    shape = (len(labels), len(labels))
    graph = coo_array((np.ones(len(every), np.int32), (every[:, 0], every[:, 1])), shape=shape)
    _, components = connected_components(graph, directed=False)
    firsts = np.full(components.max() + 1, len(labels))
    np.minimum.at(firsts, components, np.arange(len(labels)))
    return np.asarray(firsts[components])

"""Vectors in faiss's inverted lists, filled part by part and searched as memory maps.

float16, as measured in benchmarks/results/vector_indexes_2cores_202611.md: where vectors have no clusters at all,
nearly every list must be searched, and then the plain scan is what decides.
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import faiss
import numpy as np
from faiss.contrib.ondisk import merge_ondisk

_LISTS = "lists.faiss"
_DATA = "lists.ivfdata"
_PLACES = "places.npy"
# 256 MB of float16 vectors of 256 numbers: what filling holds in memory, or twice that.
_PART = 2**19
_OFFSET_BITS = np.uint64(32)
_OFFSET_MASK = np.uint64(2**32 - 1)


def train_lists(sample: np.ndarray, num_lists: int) -> faiss.IndexIVFScalarQuantizer:
    """Empty lists around centres found by k-means.

    Args:
        sample: (N, D) float32, L2-normalised, some dozens a list.
        num_lists: how many.
    """
    dimension = sample.shape[1]
    centres = faiss.IndexFlatIP(dimension)
    kind, metric = faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    lists = faiss.IndexIVFScalarQuantizer(centres, dimension, num_lists, kind, metric, False)
    lists.own_fields = True
    centres.this.disown()
    lists.cp.niter, lists.cp.spherical, lists.cp.min_points_per_centroid = 10, True, 1
    lists.train(sample)
    return lists


class ListWriter:
    """Fills trained lists in a folder, out of core: whole parts go to disk and are merged there.

    Args:
        trained: empty lists; not to be used any more by others.
        folder: that they are written to.
        vectors_per_part: how many are held in memory, about.
    """

    def __init__(self, trained: faiss.IndexIVFScalarQuantizer, folder: Path, vectors_per_part: int = _PART) -> None:
        self._lists, self._folder, self._vectors_per_part = trained, folder, vectors_per_part
        self._parts: list[Path] = []
        self._num_vectors = 0

    def add(self, vectors: np.ndarray) -> None:
        """Adds (N, D) float32 vectors, which are numbered in the order they come."""
        numbers = np.arange(self._num_vectors, self._num_vectors + len(vectors))
        self._lists.add_with_ids(np.ascontiguousarray(vectors), numbers)
        self._num_vectors += len(vectors)
        if self._lists.ntotal >= self._vectors_per_part:
            self._write_part()

    def finish(self) -> "Lists":
        """Merges the parts and opens the result."""
        if self._lists.ntotal:
            self._write_part()
        with _silence():
            merge_ondisk(self._lists, [str(part) for part in self._parts], str(self._folder / _DATA))
        faiss.write_index(self._lists, str(self._folder / _LISTS))
        for part in self._parts:
            part.unlink()
        np.save(self._folder / _PLACES, _places(self._lists, self._num_vectors))
        return Lists(self._folder)

    def _write_part(self) -> None:
        self._parts.append(self._folder / f"part-{len(self._parts)}.faiss")
        faiss.write_index(self._lists, str(self._parts[-1]))
        empty = faiss.ArrayInvertedLists(self._lists.nlist, self._lists.code_size)
        self._lists.replace_invlists(empty, True)
        empty.this.disown()
        self._lists.ntotal = 0


@contextmanager
def _silence() -> Iterator[None]:
    """Sends standard output, where a job's answer goes, nowhere: faiss tells there what it does to its files."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            yield
    finally:
        ctypes.CDLL(None).fflush(None)
        os.dup2(kept, 1)
        os.close(kept)


def _places(lists: faiss.IndexIVFScalarQuantizer, num_vectors: int) -> np.ndarray:
    """Where each vector lies, by its number: list and place in it, in one uint64."""
    inverted, places = faiss.downcast_InvertedLists(lists.invlists), np.empty(num_vectors, np.uint64)
    for number in range(lists.nlist):
        size = inverted.list_size(number)
        if size:
            members = faiss.rev_swig_ptr(inverted.get_ids(number), size)
            places[members] = (np.uint64(number) << _OFFSET_BITS) | np.arange(size, dtype=np.uint64)
    return places


class Lists:
    """The lists in a folder; nothing is read before it is needed.

    Raises:
        FileNotFoundError, RuntimeError, ValueError: they are not there or damaged.
    """

    def __init__(self, folder: Path) -> None:
        flags = faiss.IO_FLAG_ONDISK_SAME_DIR | faiss.IO_FLAG_READ_ONLY
        with _silence():
            self._lists = faiss.read_index(str(folder / _LISTS), flags)
        self._inverted = faiss.downcast_InvertedLists(self._lists.invlists)
        self._inverted.prefetch_nthread = 0  # starting 32 threads takes longer than the search
        self._places = np.load(folder / _PLACES, mmap_mode="r")
        self.num_lists: int = self._lists.nlist

    def __len__(self) -> int:
        """How many vectors."""
        return len(self._places)

    def search(self, queries: np.ndarray, k: int, num_probes: int) -> tuple[np.ndarray, np.ndarray]:
        """The nearest vectors found in the nearest lists.

        Args:
            queries: (Q, D) float32, L2-normalised.
            k: how many a query.
            num_probes: lists to search.

        Returns:
            Cosine similarities (Q, k) float32, best first, and vector numbers (Q, k) int64; -1 where there are no more.
        """
        self._lists.parallel_mode = 1 if len(queries) == 1 else 0  # threads share a query, or share out queries
        effort = faiss.SearchParametersIVF(nprobe=min(num_probes, self.num_lists))
        similarities, numbers = self._lists.search(np.ascontiguousarray(queries), k, params=effort)
        return similarities, numbers

    def vectors(self, numbers: np.ndarray) -> np.ndarray:
        """The vectors of these numbers, (N, D) float32."""
        places = self._places[numbers]
        pairs = zip(places >> _OFFSET_BITS, places & _OFFSET_MASK, strict=True)
        return np.stack([self._codes(int(number))[int(offset)] for number, offset in pairs]).astype(np.float32)

    def members(self, list_number: int) -> tuple[np.ndarray, np.ndarray]:
        """The vector numbers (N,) of a list, and its vectors (N, D) float32."""
        size = self._inverted.list_size(list_number)
        if not size:
            return np.empty(0, np.int64), np.empty((0, self._lists.d), np.float32)
        numbers = faiss.rev_swig_ptr(self._inverted.get_ids(list_number), size).copy()
        return numbers, self._codes(list_number).astype(np.float32)

    def ranks(self, queries: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """How many lists come before the one that holds a vector, by nearness to the query.

        Args:
            queries: (Q, D) float32.
            numbers: vectors (Q, k).

        Returns:
            (Q, k) int64.
        """
        holders = (self._places[numbers] >> _OFFSET_BITS).astype(np.int64)
        ranks = np.empty(numbers.shape, np.int64)
        for query, vector in enumerate(queries):
            _, order = self._lists.quantizer.search(vector[None], self.num_lists)
            rank = np.empty(self.num_lists, np.int64)
            rank[order[0]] = np.arange(self.num_lists)
            ranks[query] = rank[holders[query]]
        return ranks

    def _codes(self, list_number: int) -> np.ndarray:
        """A view of a list's vectors, (N, D) float16."""
        size = self._inverted.list_size(list_number)
        data = faiss.rev_swig_ptr(self._inverted.get_codes(list_number), size * self._inverted.code_size)
        return np.asarray(data.view(np.float16).reshape(size, -1))

"""Feature sets as torch datasets: one by position, one as a stream that workers and ranks share out.

The only module of the room that loads torch when it is imported. Neither dataset holds an open file, so both go to
workers of any start method.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from pipeline.errors import ConfigError
from pipeline.readers.feature_set import FeatureSet
from pipeline.readers.row import FeatureRow, as_tensor

Item = dict[str, Any]


class FeatureDataset(Dataset[Item]):
    """A feature set by position, for samplers: item i is the image `features.image_ids[i]`.

    An item has `image_id` (str), each map by its column ((C, H, W), in the stored dtype), `pooled` ((256,) float32) and
    `original_size` ((2,) int64: height, width). With `features.select(...)` only those maps are read.

    Args:
        features: from `open_features`.
    """

    def __init__(self, features: FeatureSet) -> None:
        self._features = features

    def __len__(self) -> int:
        return len(self._features)

    def __getitem__(self, position: int) -> Item:
        """The item at a position.

        Raises:
            IndexError: there is no such position.
            FeatureSetError, AccessDeniedError, StoreUnavailableError: its shard cannot be read.
        """
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[Item]:
        """The items of a batch, which a loader asks for at once; they are read side by side."""
        return [_item(row) for row in self._features.rows(positions)]


class FeatureStream(IterableDataset[Item]):
    """A feature set as a stream: of all workers and ranks together, each item comes once an epoch and none is missing.

    Ranks and workers get equal parts, but for one item; a rank's part does not depend on its number of workers, nor
    the order on anything but seed and epoch. Items are those of `FeatureDataset`.

    Args:
        features: from `open_features`.
        shuffle_seed: all items in a random order that changes with `set_epoch`; None: in the order of the files.
        rank: which part is read here; None: torch.distributed's, if it is initialised, else the only one.
        world_size: how many parts there are.

    Raises:
        ConfigError: one of rank and world_size without the other, or a rank that is not below world_size.
    """

    def __init__(
        self,
        features: FeatureSet,
        *,
        shuffle_seed: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        self._features, self._shuffle_seed = features, shuffle_seed
        self._rank, self._world_size = _part(rank, world_size)
        # In shared memory, so that workers that live for several epochs see it change.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of the next pass; on every rank the same."""
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[Item]:
        """The items of this rank, or of this worker's part of them.

        Raises:
            FeatureSetError, AccessDeniedError, StoreUnavailableError: a shard cannot be read.
        """
        mine = _share(self._order(), self._rank, self._world_size)
        worker = get_worker_info()
        if worker is not None:
            mine = _share(mine, worker.id, worker.num_workers)
        for row in self._features.rows(mine.tolist()):
            yield _item(row)

    def _order(self) -> np.ndarray:
        if self._shuffle_seed is None:
            return np.arange(len(self._features))
        return np.random.default_rng((self._shuffle_seed, int(self._epoch))).permutation(len(self._features))


def _part(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """This process's part, and how many there are."""
    if rank is None and world_size is None:
        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
        return 0, 1
    if rank is None or world_size is None or not 0 <= rank < world_size:
        raise ConfigError(f"rank {rank} of world_size {world_size}: give both, ranks count from 0, or give neither")
    return rank, world_size


def _share(positions: np.ndarray, number: int, num_shares: int) -> np.ndarray:
    """A run of positions, so that whoever reads it goes through shards from one end to the other."""
    size = len(positions)
    start, end = (size * edge // num_shares for edge in (number, number + 1))
    return positions[start:end]


def _item(row: FeatureRow) -> Item:
    return {
        "image_id": row.image_id,
        **{column: as_tensor(values) for column, values in row.maps.items()},
        "pooled": row.pooled,
        "original_size": torch.tensor(row.original_size),
    }

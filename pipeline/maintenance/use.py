"""The tokens of all files that records and tables of sealed runs name: eight bytes a file, sorted, and nothing else.

Of two tokens that begin with the same eight bytes both count as in use, so what is kept too often is never lost.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Self

import numpy as np

from pipeline.errors import FeatureSetError
from pipeline.featureset import catalog
from pipeline.featureset.records import FeatureSetRecord, Manifest, RunRecord, TableFile
from pipeline.maintenance.names import token_of
from pipeline.maintenance.reading import table_problem
from pipeline.storage.folder import Folder


class NamesInUse:
    """Whether a file is named by the feature set, by any of its runs, or by the shards table of any sealed run."""

    def __init__(self, names: Iterable[str]) -> None:
        tokens = (token_of(name) for name in names)
        self._tokens = np.unique(np.fromiter((int(token[:16], 16) for token in tokens if token), np.uint64))

    @classmethod
    def of(
        cls, root: Folder, record: FeatureSetRecord, *, runs: Iterable[RunRecord], sealed: Sequence[Manifest]
    ) -> Self:
        """Those of a whole feature set.

        Raises:
            FeatureSetError: the shards table of a sealed run is damaged.
        """
        files: list[TableFile | None] = [record.position_encodings]
        files += [file for run in runs for file in (run.plan, run.removed)]
        files += [file for end in sealed for file in (end.index, end.shards, end.quarantine)]
        names = (file.name for file in files if file is not None)
        return cls(chain(names, *(_shards(root, end) for end in sealed)))

    def __contains__(self, name: str) -> bool:
        token = token_of(name)
        if token is None:
            return False
        wanted = np.uint64(int(token[:16], 16))
        place = int(np.searchsorted(self._tokens, wanted))
        return place < len(self._tokens) and bool(self._tokens[place] == wanted)


def _shards(root: Folder, manifest: Manifest) -> Iterator[str]:
    problem = table_problem(root, manifest.shards)  # page checksums do not cover all of a table's bytes
    if problem is not None:
        raise FeatureSetError(f"{root.uri_of(manifest.shards.name)} {problem}; what is in use cannot be told")
    with catalog.table_file(root, manifest.shards) as shards:
        for batch in shards.iter_batches(columns=["shard"]):
            catalog.require_shard_names(root, manifest.shards.name, batch["shard"])
            yield from batch["shard"].to_pylist()

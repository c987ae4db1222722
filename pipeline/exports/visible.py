"""The rows of a feature set that count, streamed from its index tables; for an image in several runs, the last one's.

Of all rows only numbers are held, and ids while those are sought; columns are read batch by batch.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pipeline.featureset import catalog
from pipeline.featureset.schema import PART
from pipeline.readers.feature_set import FeatureSet
from pipeline.readers.run_contents import SealedRun
from pipeline.readers.visibility import last_rows
from pipeline.storage.folder import Folder

_ROWS_AT_ONCE = 16_384


class VisibleRows:
    """The visible rows of a sealed feature set, run by run in the order of the plan.

    Raises:
        FeatureSetError: no feature set there, none of its runs is sealed, or it is damaged.
    """

    def __init__(self, uri: str) -> None:
        self.root = Folder(uri)
        self.record, self._manifests = catalog.sealed_set(self.root)
        tables = [table for manifest in self._manifests for table in (manifest.index, manifest.quarantine)]
        ids = [catalog.read_columns(self.root, table, ["image_id"])["image_id"] for table in tables]
        self._kept = [rows.to_numpy() for rows in last_rows(ids)[0::2]]

    @property
    def run(self) -> int:
        """The number of the last sealed run."""
        return self._manifests[-1].run

    def __len__(self) -> int:
        """Images that count."""
        return sum(map(len, self._kept))

    def features(self) -> FeatureSet:
        """The same rows, in the same order, with their maps; its rows take all of the index but the vectors."""
        return FeatureSet(self.root, self.record, [SealedRun(self.root, manifest) for manifest in self._manifests])

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Those columns of the rows that count; each call reads the index anew. A run without `part` has nulls.

        Raises:
            FeatureSetError: a table is missing or damaged.
        """
        for manifest, kept in zip(self._manifests, self._kept, strict=True):
            with catalog.table_file(self.root, manifest.index) as table:
                first = 0
                for batch in table.iter_batches(batch_size=_ROWS_AT_ONCE, columns=columns):
                    low, high = np.searchsorted(kept, [first, first + batch.num_rows])
                    whole = _with_part(batch).select(columns)
                    if high > low:
                        yield whole if high - low == batch.num_rows else whole.take(pa.array(kept[low:high] - first))
                    first += batch.num_rows


def _with_part(batch: pa.RecordBatch) -> pa.RecordBatch:
    if PART.name in batch.schema.names:
        return batch
    return batch.append_column(PART, pa.nulls(batch.num_rows, PART.type))

"""The position encodings of a feature set, stored once because they depend on a map's shape alone."""

import numpy as np

from pipeline.featureset import catalog
from pipeline.featureset.records import FeatureSetRecord
from pipeline.featureset.schema import only_value, position_spec
from pipeline.storage import Folder


def read_positions(root: Folder, record: FeatureSetRecord) -> dict[str, np.ndarray]:
    """The position encoding that belongs to each map, by the map's column: (C, H, W) float32.

    Raises:
        FeatureSetError: the stored encodings are missing or damaged.
    """
    if record.position_encodings is None:
        return {}
    table = catalog.read_table(root, record.position_encodings)
    stored = {spec.column: position_spec(spec) for spec in record.maps}
    return {column: spec.decode(only_value(table[spec.column])) for column, spec in stored.items()}

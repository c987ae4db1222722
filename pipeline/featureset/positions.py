"""The position encodings of a feature set, stored once because they depend on a map's shape alone."""

import numpy as np

from pipeline.featureset import catalog
from pipeline.featureset.maps import level_maps, position_spec
from pipeline.featureset.records import FeatureSetRecord
from pipeline.storage.folder import Folder


def read_positions(root: Folder, record: FeatureSetRecord) -> dict[str, np.ndarray]:
    """The position encoding that belongs to each map, by the map's column: (C, H, W) float32.

    Raises:
        FeatureSetError: the stored encodings are missing or damaged.
    """
    if record.position_encodings is None:
        return {}
    table = catalog.read_table(root, record.position_encodings)
    found = {}
    for place, spec in enumerate(level_maps(record.maps)):
        width = table.schema.field(place).type.byte_width
        stored = position_spec(spec, width // (4 * spec.shape_chw[1] * spec.shape_chw[2]))
        found[spec.column] = stored.read(table)[0]
    return found

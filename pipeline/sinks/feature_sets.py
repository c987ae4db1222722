"""A feature set comes to be: its settings, the meaning of its maps, and its position encodings, written once."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import RunConflictError, SinkError
from pipeline.featureset import catalog, paths
from pipeline.featureset.fingerprint import differences, fingerprint
from pipeline.featureset.maps import MapSpec, level_maps, position_spec
from pipeline.featureset.records import FeatureSetRecord, TableFile
from pipeline.sinks.tables import write_table
from pipeline.storage.folder import Folder


def claim_feature_set(
    root: Folder,
    *,
    settings: Mapping[str, Any],
    maps: tuple[MapSpec, ...],
    positions: Mapping[str, np.ndarray],
    no_mem_embed: tuple[float, ...] | None = None,
) -> FeatureSetRecord:
    """Creates the feature set, or opens the one that is there if it was made with the same settings.

    Args:
        root: where it lies.
        settings: everything that can change a number.
        maps: the maps of every row.
        positions: position encoding by map column, (H, W, C) float32.
        no_mem_embed: SAM 2's vector of that name, (C,), if the maps are the mask decoder's.

    Raises:
        RunConflictError: made with other settings; names every field that differs.
        SinkError, AccessDeniedError: cannot be written.
    """
    standing = catalog.feature_set_record(root)
    if standing is None:
        levels = level_maps(maps)
        stored = _write_positions(root, levels, positions) if levels else None
        record = FeatureSetRecord(
            fingerprint=fingerprint(settings),
            settings=dict(settings),
            maps=maps,
            position_encodings=stored,
            no_mem_embed=no_mem_embed,
        )
        if root.create(paths.FEATURE_SET, record.to_bytes()):
            return record
        standing = catalog.feature_set_record(root)
    if standing is None:
        raise SinkError(f"{root.uri_of(paths.FEATURE_SET)} was there a moment ago and is gone")
    require_same_settings(root, standing, settings)
    return standing


def require_same_settings(root: Folder, standing: FeatureSetRecord, settings: Mapping[str, Any]) -> None:
    """Refuses to mix features of different settings.

    Raises:
        RunConflictError: names every field that differs.
    """
    if standing.fingerprint == fingerprint(settings):
        return
    raise RunConflictError(
        f"{root.uri} holds features of other settings:",
        *(f"  {change}" for change in differences(standing.settings, settings)),
        "use the old settings, or another sink.uri for the new ones",
    )


def _write_positions(root: Folder, maps: tuple[MapSpec, ...], positions: Mapping[str, np.ndarray]) -> TableFile:
    specs = [position_spec(spec, positions[spec.column].shape[-1]) for spec in maps]
    fields = [field for stored in specs for field in stored.fields()]
    pairs = zip(specs, maps, strict=True)
    columns = [
        array for stored, spec in pairs for array in stored.arrays({stored.column: positions[spec.column][None]})
    ]
    return write_table(root, paths.position_encodings(), pa.Table.from_arrays(columns, schema=pa.schema(fields)))

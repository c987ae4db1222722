"""What a feature set takes: bytes, an image and in all, and dollars a month at a price."""

from collections.abc import Sequence
from typing import Any

from pipeline.featureset.maps import MapSpec
from pipeline.featureset.records import Manifest


def expenses(runs: Sequence[Manifest], maps: Sequence[MapSpec], dollars_per_gb_month: float) -> dict[str, Any]:
    """Bytes of the shards of all runs, of an image's maps, and dollars a month, of this set and of a million images."""
    size_bytes = sum(run.size_bytes for run in runs)
    num_rows = sum(run.num_embedded for run in runs)
    per_image = size_bytes / num_rows if num_rows else 0.0
    return {
        "size_bytes": size_bytes,
        "num_shards": sum(run.shards.num_rows for run in runs),
        "bytes_per_image": per_image,
        "maps": [(spec.column, spec.shape_chw, spec.dtype, spec.size_bytes) for spec in maps],
        "dollars_per_gb_month": dollars_per_gb_month,
        "dollars_a_month": size_bytes / 1e9 * dollars_per_gb_month,
        "dollars_a_month_million": per_image * 1e6 / 1e9 * dollars_per_gb_month,
    }

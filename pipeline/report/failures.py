"""Images without features by reason, with some examples, of which a few can be shown in spite of it."""

from collections import Counter, defaultdict
from typing import Any

import pyarrow as pa

from pipeline.redaction import shown

_EXAMPLES_PER_REASON, _MOST_REASONS = 6, 24
# What crashed, hung or filled a decoder is not given to another one for a picture. Nor is read what was not fetched,
# which the run may have been forbidden.
_DANGEROUS = frozenset({"DecoderCrashed", "DecodeTimeout", "DecodeMemory"})


def reasons(quarantine: pa.Table) -> list[dict[str, Any]]:
    """Reasons, the commonest first: `error_type`, `stage`, `error_class`, `count`, and `examples`, which are rows.

    What may be shown of rows is redacted; `uri` stays as it is, to read from.
    """
    kinds = Counter[tuple[str, str, str]]()
    examples = defaultdict[tuple[str, str, str], list[dict[str, Any]]](list)
    for batch in quarantine.to_batches():
        for row in batch.to_pylist():
            kind = (row["error_type"], row["stage"], row["error_class"])
            kinds[kind] += 1
            if len(examples[kind]) < _EXAMPLES_PER_REASON:
                examples[kind].append(_example(row))
    return [
        {
            **dict(zip(("error_type", "stage", "error_class"), map(shown, kind), strict=True)),
            "count": count,
            "examples": examples[kind],
        }
        for kind, count in kinds.most_common(_MOST_REASONS)
    ]


def _example(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "image_id": shown(row["image_id"]),
        "message": shown(row["message"]),
        "uri": row["uri"],
        "picture": None,
        "is_tried": row["stage"] == "decode" and row["error_type"] not in _DANGEROUS,
    }

"""The README of a feature set: what a stranger wants to know before using it. Hugging Face reads its front matter."""

import html
import json
from collections.abc import Iterator

from pipeline.exports.facts import UNKNOWN_LICENCE, Facts
from pipeline.redaction import shown


def card(facts: Facts) -> str:
    """The card, in Markdown."""
    return "\n".join([*_front_matter(facts), *_summary(facts), *_maps(facts), *_runs(facts), *_use(facts), ""])


def _front_matter(facts: Facts) -> Iterator[str]:
    yield "---"
    yield f"license: {json.dumps(facts.licence if '://' in facts.licence else facts.licence.lower())}"
    yield f"pretty_name: {json.dumps(f'SAM 2 features: {facts.name}')}"
    yield "tags: [sam2, image-features, embeddings, parquet]"
    sizes = ["n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B"]
    place = sum(facts.num_rows >= 1000 * 10**power for power in range(len(sizes) - 1))
    yield f"size_categories: [{json.dumps(sizes[place])}]"
    yield "---"


def _summary(facts: Facts) -> Iterator[str]:
    settings, last = facts.settings, facts.runs[-1]
    preprocessing = settings.get("preprocessing", {})
    yield f"# SAM 2 features: {html.escape(shown(facts.name))}"
    yield ""
    if settings["weights"]["kind"] == "random":
        yield f"> **Weights: {facts.weights}.**"
        yield ""
    yield "| | |"
    yield "|---|---|"
    yield f"| model | {facts.model} |"
    yield f"| weights | {facts.weights} |"
    yield f"| precision | {settings.get('precision')} |"
    yield f"| input | {preprocessing.get('side_px')} x {preprocessing.get('side_px')} pixels, {_said(preprocessing)} |"
    yield f"| features | {settings.get('features')}, {facts.bytes_per_image / 1e6:.2f} MB an image |"
    again = "; an image that was embedded again has one a run, and the last counts" if len(facts.runs) > 1 else ""
    yield f"| rows | {facts.num_rows}{again} |"
    yield f"| on disk | {sum(run.size_bytes for run in facts.runs) / 1e9:.3f} GB in shards |"
    yield f"| audit | {last.audit.text() if last.audit else 'none in the last run'} |"
    yield f"| fingerprint | `{facts.record.fingerprint}` |"
    yield f"| licence | {_licence(facts)} |"
    yield ""


def _said(preprocessing: dict[str, object]) -> str:
    return "; ".join(f"{key}: {value}" for key, value in preprocessing.items() if key != "side_px") or "as SAM 2 does"


def _licence(facts: Facts) -> str:
    images = "not stated" if facts.licence == UNKNOWN_LICENCE else facts.licence
    return f"of the images: {images}; SAM 2's code and checkpoints: Apache-2.0"


def _maps(facts: Facts) -> Iterator[str]:
    yield "## Columns of a shard"
    yield ""
    yield "| column | shape (H, W, C) | dtype | bytes | what it is |"
    yield "|---|---|---|---|---|"
    yield "| `image_id`, `uri`, `original_height`, `original_width` | | | | the image; pixels |"
    yield "| `embedding` | 256 | float32 | 1024 | pooled over the coarsest level, L2-normalised |"
    for spec in facts.record.maps:
        for field, column in zip(spec.fields(), spec.columns, strict=True):
            shape = " x ".join(str(side) for side in column.shape)
            meaning = field.metadata[b"meaning"].decode()
            yield f"| `{column.name}` | {shape} | {column.dtype} | {column.size_bytes} | {meaning} |"
    yield ""
    if facts.record.maps:
        yield "Numbers lie in C order, little-endian, as the schema of every shard says too; an image is a row group."
    if facts.record.no_mem_embed is not None:
        yield "`no_mem_embed` is not added to `fpn_2`; `row.image_embeddings` adds it, `row.backbone_fpn` does not."
    yield ""


def _runs(facts: Facts) -> Iterator[str]:
    yield "## Runs"
    yield ""
    yield "| run | sealed | images planned | with features | quarantined | shards |"
    yield "|---|---|---|---|---|---|"
    for run in facts.runs:
        counts = f"{run.num_planned} | {run.num_embedded} | {run.num_quarantined} | {run.shards.num_rows}"
        yield f"| {run.run} | {run.sealed_at} | {counts} |"
    yield ""


def _use(facts: Facts) -> Iterator[str]:
    yield "## Use"
    yield ""
    yield "```python"
    yield "import pipeline"
    yield ""
    yield f"features = pipeline.open_features({facts.uri!r})"
    yield "row = features[features.image_ids[0]]"
    yield "row.pooled, row.backbone_fpn  # tensors"
    yield "features.files                # the shards, plain Parquet, for every other tool"
    yield "```"
    yield ""
    yield "Follow `features.files`, not a listing: shards that lost a race or were embedded again may lie beside them."

"""The two files that make a folder of Parquet a Feast repository, as text.

They are written once and belong to the user from then on; what comes from the set enters as Python literals only.
"""

from pipeline.featureset.records import FeatureSetRecord
from pipeline.featureset.schema import EMBEDDING
from pipeline.featureset.weights import weights_text

DATA, REGISTRY = "data", "registry.db"
REPOSITORY_FILES = ("feature_store.yaml", "features.py")

_STORE = f"""\
# Feast on this machine alone: the registry and the online store are files beside this one, never in data/,
# where Feast takes every file for Parquet.
project: sam2_embed
provider: local
registry: {REGISTRY}
offline_store:
  type: dask
online_store:
  type: sqlite
  path: online_store.db
  vector_enabled: true  # Feast loads sqlite-vec by itself under Python 3.10 only
entity_key_serialization_version: 3
"""

_WARNING = "\n\nRANDOM WEIGHTS: the encoder is untrained, and its vectors mean nothing.\n"

_FEATURES = '''\
"""SAM 2 image features for Feast: one pooled vector an image.{warning}"""

from datetime import timedelta

from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Array, Float32, Int32, String

# What the numbers mean; features of different fingerprints do not compare.
TAGS = {{
{tags}
}}

image = Entity(name="image", join_keys=["image_id"], value_type=ValueType.STRING, description="an image of the source")

# A file a run. An image that was embedded again has a row in each of its runs; the latest event_timestamp counts.
runs = FileSource(
    name="sam2_runs",
    path="{data}",  # in the folder of feature_store.yaml
    timestamp_field="event_timestamp",
    created_timestamp_column="created_timestamp",
    tags=TAGS,
)

image_features = FeatureView(
    name="image_features",
    entities=[image],
    ttl=timedelta(0),  # features do not expire
    schema=[
        Field(name="image_id", dtype=String),
        Field(
            name="embedding",
            dtype=Array(Float32),
            description={meaning!r},
            vector_index=True,
            vector_length={length},
            vector_search_metric="cosine",  # SQLite ranks by L2, which is the same order for vectors of length 1
        ),
        Field(name="uri", dtype=String, description="where the image was when it was embedded"),
        Field(name="original_height", dtype=Int32, description="pixels"),
        Field(name="original_width", dtype=Int32, description="pixels"),
    ],
    source=runs,
    online=True,
    tags=TAGS,
)
'''


def repository_text(name: str, record: FeatureSetRecord, length: int) -> str:
    """The text of one of `REPOSITORY_FILES`, for vectors of that length."""
    if name == REPOSITORY_FILES[0]:
        return _STORE
    settings = record.settings
    tags = {
        "fingerprint": record.fingerprint,
        "weights": weights_text(settings["weights"]),
        "features": str(settings["features"]),
        "pooling": str(settings.get("pooling") or "mean"),
    }
    return _FEATURES.format(
        warning=_WARNING if settings["weights"]["kind"] == "random" else "",
        tags="\n".join(f"    {key!r}: {value!r}," for key, value in tags.items()),
        data=DATA,
        meaning=(EMBEDDING.metadata or {})[b"meaning"].decode(),
        length=length,
    )

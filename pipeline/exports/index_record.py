"""What an index is of, how well it searches, and whether its feature set has moved on since."""

import logging
from typing import Any

from pipeline.errors import AccessDeniedError, ConfigError, StoreUnavailableError
from pipeline.exports.vectors import Kind
from pipeline.featureset import catalog
from pipeline.featureset.records import Record
from pipeline.storage.folder import Folder

RECORD = "index.json"
IMAGES = "images.parquet"

# A search does without the features, so it does not wait long for them.
_PATIENCE_S = 3.0

logger = logging.getLogger("pipeline")


class IndexRecord(Record):
    """An index of a feature set's vectors as they were after a run.

    Attributes:
        features_uri: the feature set.
        run: its last sealed run then.
        settings: of the feature set; they say how to encode another image.
        grid_side: cells to a side of an image; None where there is one vector an image.
        num_probes: of `num_lists`, searched for every query.
        recall: the share of the true 10 nearest that this finds, measured on `num_queries` vectors of the set.
    """

    kind: Kind
    features_uri: str
    fingerprint: str
    run: int
    settings: dict[str, Any]
    num_images: int
    num_vectors: int
    dimension: int
    grid_side: int | None
    num_lists: int
    num_probes: int
    recall: float
    num_queries: int
    built_at: str


def random_weights(settings: dict[str, Any]) -> str | None:
    """The warning that belongs to vectors of an untrained encoder; None for trained ones."""
    weights = settings["weights"]
    if weights["kind"] != "random":
        return None
    return f"RANDOM WEIGHTS (seed {weights['seed']}, untrained): similarities mean nothing"


def check_current(record: IndexRecord) -> None:
    """Warns if the feature set has been sealed again since the index was built, or cannot be asked.

    Raises:
        ConfigError: at its URI there are other features now.
    """
    try:
        _compare(record, Folder(record.features_uri, _PATIENCE_S))
    except (StoreUnavailableError, AccessDeniedError) as error:
        logger.warning("whether the index is up to date is not known: %s", error)


def _compare(record: IndexRecord, root: Folder) -> None:
    standing = catalog.feature_set_record(root)
    if standing is None:
        logger.warning("whether the index is up to date is not known: there are no features at %s any more", root.uri)
        return
    if standing.fingerprint != record.fingerprint:
        raise ConfigError(
            f"the index is of features with the fingerprint {record.fingerprint[:12]}..., but {root.uri} has "
            f"{standing.fingerprint[:12]}... now; build it again with jobs/build_index.py"
        )
    run = max((manifest.run for manifest in catalog.sealed_runs(root)), default=record.run)
    if run > record.run:
        logger.warning(
            "the index is older than its features: it was built after run %d, and %s has run %d now; "
            "build it again with jobs/build_index.py to search all of them",
            record.run,
            root.uri,
            run,
        )

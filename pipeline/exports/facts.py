"""What there is to say about a feature set, out of its sealed records alone."""

from dataclasses import dataclass
from typing import Any

from pipeline.featureset import catalog
from pipeline.featureset.records import FeatureSetRecord, Manifest
from pipeline.model.checkpoint import SIZES
from pipeline.model.published import PUBLISHED
from pipeline.storage.folder import Folder

UNKNOWN_LICENCE = "other"


@dataclass(frozen=True)
class Facts:
    """A feature set's records, and the licence of its images if it was told.

    Attributes:
        licence: an SPDX identifier or a URL; `other` where nobody said.
    """

    uri: str
    record: FeatureSetRecord
    runs: tuple[Manifest, ...]
    licence: str

    @classmethod
    def of(cls, root: Folder, licence: str) -> "Facts":
        """Those of a sealed feature set.

        Raises:
            FeatureSetError: no feature set, or none of its runs is sealed.
        """
        record, sealed = catalog.sealed_set(root)
        return cls(root.uri, record, tuple(sealed), licence)

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that can change a number."""
        return self.record.settings

    @property
    def name(self) -> str:
        """Of the set: the last part of its URI."""
        return self.uri.rstrip("/").rpartition("/")[2]

    @property
    def model(self) -> str:
        """The published model whose checkpoint it was, else its size."""
        sha256 = self.settings["weights"].get("sha256")
        known = [name for name, file in PUBLISHED.items() if file.sha256 == sha256]
        trunk = self.settings.get("encoder", {}).get("trunk", {})
        size = SIZES.get((trunk.get("embed_dim", 0), sum(trunk.get("stages", []))))
        return known[0] if known else f"SAM 2 image encoder, {size or 'of its own'} size"

    @property
    def weights(self) -> str:
        """Which weights: the checkpoint's hash, or that they are random."""
        weights = self.settings["weights"]
        if weights["kind"] == "random":
            return f"RANDOM (seed {weights.get('seed')}): the encoder is untrained and its features mean nothing"
        return f"checkpoint of sha256 {weights['sha256']}"

    @property
    def num_rows(self) -> int:
        """Rows of all runs; an image in several runs has a row in each."""
        return sum(run.num_embedded for run in self.runs)

    @property
    def bytes_per_image(self) -> int:
        """Of the maps."""
        return sum(spec.size_bytes for spec in self.record.maps)

"""Facts: the model by its checkpoint, weights by their name, counts over runs."""

from pathlib import Path

import pytest

from pipeline.errors import FeatureSetError
from pipeline.exports.facts import Facts
from pipeline.model.build import load_encoder_config
from pipeline.storage.folder import Folder
from tests.exports.described import TINY, facts_of, two_runs
from tests.small_set import SmallSet


def test_counts_are_those_of_all_runs(tmp_path: Path):
    facts = facts_of(two_runs(tmp_path / "cats and dogs"))
    assert (facts.name, facts.num_rows, len(facts.runs)) == ("cats and dogs", 3, 2)
    assert facts.bytes_per_image == (4 * 8 * 6 + 5 * 4 * 3) * 2


def test_the_model_is_known_by_its_checkpoint_or_else_by_its_size(tmp_path: Path):
    small = two_runs(tmp_path / "set")
    published = facts_of(small, weights={"kind": "checkpoint", "sha256": TINY})
    assert (published.model, published.weights) == ("sam2.1_hiera_tiny", f"checkpoint of sha256 {TINY}")
    own = {"kind": "checkpoint", "sha256": "0" * 64}
    tree = load_encoder_config("sam2.1_hiera_small").tree
    assert facts_of(small, weights=own, encoder=tree).model == "SAM 2 image encoder, small size"
    assert facts_of(small, weights=own).model == "SAM 2 image encoder, of its own size"


def test_random_weights_are_called_random(tmp_path: Path):
    assert facts_of(two_runs(tmp_path / "set")).weights.startswith("RANDOM (seed 0): the encoder is untrained")


def test_what_is_not_sealed_is_not_described(tmp_path: Path):
    small = SmallSet(tmp_path / "set")
    small.begin([["a"]])
    with pytest.raises(FeatureSetError, match="is not sealed yet: run the command that writes it again"):
        Facts.of(small.root, "other")
    with pytest.raises(FeatureSetError, match="holds no feature set"):
        Facts.of(Folder(tmp_path / "nothing"), "other")

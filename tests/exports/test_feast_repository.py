"""The generated files are what Feast reads, whatever a set's settings hold."""

import ast
from pathlib import Path

import pytest
import yaml

from pipeline.exports.feast_repository import DATA, repository_text
from pipeline.featureset.records import FeatureSetRecord
from pipeline.featureset.weights import weights_text
from tests.small_set import SmallSet


@pytest.fixture
def record(tmp_path: Path) -> FeatureSetRecord:
    """Of a set with random weights."""
    return SmallSet(tmp_path / "set").record


def with_settings(record: FeatureSetRecord, **settings: object) -> FeatureSetRecord:
    return record.model_copy(update={"settings": {**record.settings, **settings}})


def tags(text: str) -> dict[str, str]:
    (value,) = [
        node.value
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "TAGS"
    ]
    found: dict[str, str] = ast.literal_eval(value)
    return found


def test_the_store_keeps_its_files_out_of_the_data(record: FeatureSetRecord):
    store = yaml.safe_load(repository_text("feature_store.yaml", record, 256))
    assert (store["provider"], store["online_store"]["type"]) == ("local", "sqlite")
    assert store["online_store"]["vector_enabled"] is True
    assert not [path for path in (store["registry"], store["online_store"]["path"]) if path.startswith(DATA)]


def test_random_weights_are_called_random(record: FeatureSetRecord):
    text = repository_text("features.py", record, 256)
    assert "RANDOM WEIGHTS" in (ast.get_docstring(ast.parse(text)) or "")
    assert tags(text)["weights"] == "random (seed 0, untrained)"
    assert tags(text)["fingerprint"] == record.fingerprint


def test_a_checkpoint_is_named_by_its_digest(record: FeatureSetRecord):
    weights = {"kind": "checkpoint", "sha256": "ab" * 32}
    text = repository_text("features.py", with_settings(record, weights=weights), 256)
    assert tags(text)["weights"] == weights_text(weights) == f"checkpoint sha256 {'ab' * 32}"
    assert "random" not in text.lower()


def test_the_length_and_the_settings_are_the_sets_own(record: FeatureSetRecord):
    hostile = '\'}"""\n{import os}'
    text = repository_text("features.py", with_settings(record, features=hostile, pooling="gem"), 144)
    assert "vector_length=144," in text
    assert (tags(text)["features"], tags(text)["pooling"]) == (hostile, "gem")

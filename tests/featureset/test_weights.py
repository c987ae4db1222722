"""Weights in words: a checkpoint by its hash, random ones as what they are."""

from pipeline.featureset.weights import weights_text


def test_random_weights_are_called_random_and_checkpoints_by_their_hash():
    assert weights_text({"kind": "random", "seed": 3}) == "random (seed 3, untrained)"
    assert weights_text({"kind": "checkpoint", "sha256": "ab" * 32}) == f"checkpoint sha256 {'ab' * 32}"

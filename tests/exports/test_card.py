"""The card: front matter that Hugging Face reads, and every fact a stranger needs."""

from pathlib import Path

import yaml

from pipeline.exports.card import card
from pipeline.exports.facts import Facts
from pipeline.featureset.maps import MapSpec
from tests.exports.described import TINY, facts_of, two_runs
from tests.small_set import SmallSet


def front_matter(text: str) -> dict[str, object]:
    _, matter, _ = text.split("---\n", 2)
    read: dict[str, object] = yaml.safe_load(matter)
    return read


def test_front_matter_names_licence_and_size(tmp_path: Path):
    small = two_runs(tmp_path / "set")
    assert front_matter(card(facts_of(small))) == {
        "license": "other",
        "pretty_name": "SAM 2 features: set",
        "tags": ["sam2", "image-features", "embeddings", "parquet"],
        "size_categories": ["n<1K"],
    }
    assert front_matter(card(facts_of(small, "CC-BY-4.0")))["license"] == "cc-by-4.0"


def test_random_weights_are_the_first_thing_said(tmp_path: Path):
    small = two_runs(tmp_path / "set")
    _, _, text = card(facts_of(small)).split("---\n", 2)
    assert text.splitlines()[2].startswith("> **Weights: RANDOM (seed 0)")
    trained = card(facts_of(small, weights={"kind": "checkpoint", "sha256": TINY}))
    assert "RANDOM" not in trained
    assert f"| weights | checkpoint of sha256 {TINY} |" in trained
    assert "| model | sam2.1_hiera_tiny |" in trained


def test_maps_runs_and_licences_are_listed(tmp_path: Path):
    text = card(facts_of(two_runs(tmp_path / "set"), "CC0-1.0"))
    assert "| `fpn_0` | 8 x 6 x 4 | float16 | 384 | SAM 2 backbone_fpn[0] |" in text
    assert "| rows | 3; an image that was embedded again has one a run, and the last counts |" in text
    rows = [line for line in text.splitlines() if line.startswith(("| 1 |", "| 2 |"))]
    assert [row.split(" | ")[2:] for row in rows] == [["2", "2", "0", "1 |"], ["2", "1", "1", "1 |"]]
    assert "of the images: CC0-1.0; SAM 2's code and checkpoints: Apache-2.0" in text


def test_scales_and_no_mem_embed_are_explained(tmp_path: Path):
    maps = (MapSpec("high_res_0", 0, (4, 8, 6), "int8", 4), MapSpec("fpn_2", 2, (4, 2, 2), "float16", 16))
    small = SmallSet(tmp_path / "set", maps=maps, no_mem_embed=(1.0,) * 4)
    text = card(Facts(small.uri, small.record, facts_of(two_runs(tmp_path / "other")).runs, "other"))
    assert "| `high_res_0_scale` | 4 | float32 | 16 | of high_res_0, one a channel |" in text
    assert "`no_mem_embed` is not added to `fpn_2`" in text

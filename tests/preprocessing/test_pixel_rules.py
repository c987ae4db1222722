"""What a run may choose of its pixels: plain values that survive the way to another process."""

import json
from dataclasses import asdict

from pipeline.preprocessing.pixel_rules import PixelRules


def test_rules_are_plain_values_that_can_be_a_key():
    rules = PixelRules(background=(1, 2, 3), max_pixels=5, are_damaged_shown=True)
    told = {"background": [1, 2, 3], "max_pixels": 5, "are_damaged_shown": True}
    assert json.loads(json.dumps(asdict(rules))) == told
    assert {rules: 1}[PixelRules((1, 2, 3), 5, are_damaged_shown=True)] == 1


def test_defaults_are_white_and_64_megapixels_and_nothing_of_damaged_images():
    assert PixelRules() == PixelRules((255, 255, 255), 64_000_000, are_damaged_shown=False)

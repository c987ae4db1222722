"""Advice: names what takes most besides computing, and a setting that exists."""

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pipeline.observability.accounting import ACTIVITIES, PAUSES
from pipeline.observability.advice import ADVICE, MEANINGS, account_line, advice, shares


def test_every_cause_has_a_meaning_and_an_advice():
    assert set(ADVICE) == set(MEANINGS) == {*ACTIVITIES, *PAUSES}


@pytest.mark.parametrize(
    ("seconds", "named"),
    [
        ({"compute": 98, "end": 2}, "compute (forward passes) takes 98%: the encoders set the pace"),
        ({"compute": 70, "decode": 25, "end": 5}, "decode (waiting for images to be decoded and resized) takes 25%"),
        ({"compute": 10, "upload": 80, "decode": 10}, "upload"),
        ({"compute": 90, "decode": 10}, "compute"),
        ({"start": 5}, "start"),
        ({}, "compute"),
    ],
)
def test_the_largest_cause_that_is_worth_it_is_named(seconds: dict[str, float], named: str):
    assert advice(seconds).startswith(named)


def test_settings_that_are_named_exist():
    known = OmegaConf.load(Path(__file__).parents[2] / "configs" / "embed.yaml")
    named = [match for text in ADVICE.values() for match in re.findall(r"(execution|features|preprocess)\.(\w+)", text)]
    assert len(named) > 8
    for section, field in named:
        assert field in known[section], field


def test_the_line_has_shares_of_one_encoders_time():
    line = account_line({"compute": 150.0, "start": 48.0, "end": 1.9, "wait": 0.1}, 2)
    assert line == "compute 75%, start 24% of 100.0 s, 2 encoders"
    assert sum(shares({"a": 1, "b": 3}).values()) == 1

"""Processes of a real Ray cluster are killed under the real job: nothing is lost, twice, or wrong."""

import random

import pytest

from tests.chaos.ray_kills import drill

SEED = 20261124

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def test_whatever_process_is_killed_the_rows_are_those_of_an_uninterrupted_run():
    victims = ("encoder", "fetcher", "head")
    outcome = drill(len(victims), random.Random(SEED), victims)
    assert (outcome.lost, outcome.duplicated, outcome.wrong) == (0, 0, 0), f"seed {SEED}: {outcome}"
    assert outcome.faults == len(victims)
    assert outcome.planned > 0

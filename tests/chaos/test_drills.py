"""Every drill in small numbers: no image lost, none twice, none wrong, and every fault really happened."""

import random

import pytest

from tests.chaos import sweep_s3
from tests.chaos.drills import DRILLS

pytestmark = [pytest.mark.drill, pytest.mark.timeout(600)]

SEED = 1
# The sweep over S3 comes fault by fault, and the one with Ray has a test of its own.
HERE = [drill for drill in DRILLS if drill.name not in {"sweep_s3", "ray_kills"}]


def require_good(outcome):
    assert outcome.is_good, f"seed {SEED}: {outcome}"


@pytest.mark.parametrize("kind", sweep_s3.KINDS)
def test_every_mutating_request_may_fail(kind, room):
    require_good(sweep_s3.drill(room, random.Random(SEED), kinds=[kind]))


@pytest.mark.parametrize("drill", HERE, ids=lambda drill: drill.name)
def test_drill(drill, room):
    require_good(drill.run(room, SEED, is_quick=True))

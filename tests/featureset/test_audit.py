"""What audits found, summed up: the worst of each column, and whether it is within the bound."""

import math

import pytest

from pipeline.featureset.audit import BOUNDS, AuditRow, summarise
from pipeline.featureset.maps import MapSpec


def rows(*errors: float) -> list[AuditRow]:
    return [
        AuditRow(image_id=f"{number}", errors={"fpn_0": error, "embedding": 0.0}) for number, error in enumerate(errors)
    ]


def test_the_worst_of_each_column_counts():
    summary = summarise(rows(0.001, 0.004, 0.002), {"precision": "bf16"})
    assert summary.errors == {"fpn_0": 0.004, "embedding": 0.0}
    assert (summary.num_images, summary.bound, summary.passed) == (3, BOUNDS["bf16"], True)
    assert summary.text() == "3 images again in fp32, relative error at most fpn_0 0.004, embedding 0 (bound 0.03)"


@pytest.mark.parametrize("error", [0.04, math.inf, math.nan])
def test_one_error_beyond_the_bound_is_enough(error: float):
    summary = summarise(rows(0.001, error, 0.002), {"precision": "bf16"})
    assert not summary.passed
    assert math.isnan(summary.errors["fpn_0"]) == math.isnan(error)


def test_the_bound_goes_by_precision():
    assert summarise(rows(0.002), {"precision": "bf16"}).passed
    assert not summarise(rows(0.002), {"precision": "fp32"}).passed


def test_no_audit_has_no_summary():
    assert summarise([], {"precision": "bf16"}) is None


def test_scaled_integers_have_a_bound_of_their_own():
    maps = (MapSpec("high_res_0", 0, (4, 8, 6), "int8", 4), MapSpec("fpn_2", 2, (4, 2, 2), "float16", 16))
    summary = summarise(
        [AuditRow(image_id="a", errors={"high_res_0": 0.05, "fpn_2": 0.01})], {"precision": "bf16"}, maps
    )
    assert summary is not None
    assert summary.passed
    assert summary.text().endswith("(bound 0.03, high_res_0 0.1)")
    worse = summary.model_copy(update={"errors": {"high_res_0": 0.01, "fpn_2": 0.05}})
    assert not worse.passed

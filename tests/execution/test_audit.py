"""Audits: which images, and errors that are those of the stored numbers."""

import numpy as np
import pytest
import torch

import pipeline
from pipeline.execution.audit import AuditPlan, audit
from pipeline.model.build import load_encoder_config
from pipeline.model.outputs import FeatureChoice, map_specs, stored_features
from tests.parity.reference_weights import pixels


@pytest.mark.parametrize(("num_images", "num_units"), [(4, 1), (4, 3), (4, 4), (4, 1000), (0, 7), (1, 5), (9, 2)])
def test_so_many_images_are_audited_all_over_the_run(num_images: int, num_units: int):
    plan = AuditPlan(num_images, num_units)
    places = {unit: plan.places(unit, 16) for unit in range(num_units)}
    assert sum(map(len, places.values())) == num_images
    assert all(len(set(each)) == len(each) and all(0 <= place < 16 for place in each) for each in places.values())
    audited = [unit for unit, each in places.items() if each]
    assert len(audited) == min(num_images, num_units)


def test_a_small_unit_is_audited_as_far_as_it_goes():
    assert AuditPlan(4, 1).places(0, 2) == [0, 1]
    assert AuditPlan(4, 1).places(0, 0) == []


def test_errors_are_the_distance_of_what_is_stored():
    maps = map_specs(load_encoder_config("hiera_debug").tree, 64, FeatureChoice())
    encoder = pipeline.build_encoder("hiera_debug", checkpoint="random")
    image = pixels(64, 64)
    with torch.inference_mode():
        stored = stored_features(encoder(image), maps).of_image(0)
    errors = audit(encoder, image[0].numpy(), stored, maps=maps)
    assert set(errors) == {"fpn_0", "fpn_1", "fpn_2", "embedding"}
    assert all(0 <= error < 1e-3 for error in errors.values()), errors
    stored["fpn_1"] = (stored["fpn_1"] * 1.01).astype(np.float16)
    worse = audit(encoder, image[0].numpy(), stored, maps=maps)
    assert worse["fpn_1"] == pytest.approx(0.01, abs=1e-3)
    assert worse["fpn_0"] == errors["fpn_0"]

"""The table of rates has what was measured: each figure is in the file it names, and what is not there is not known."""

from pathlib import Path

import pytest
import yaml

from pipeline.forecast.rates import TABLE, known_job, known_rate
from pipeline.model.build import load_encoder_config

REPOSITORY = Path(__file__).resolve().parents[2]
VALUES = yaml.safe_load(TABLE.read_text())


def test_every_rate_is_in_the_results_it_names():
    for entry in VALUES["encoders"]:
        assert f"{entry['seconds_per_image']:.3f}" in (REPOSITORY / entry["source"]).read_text(), entry
    job = VALUES["job"]
    results = (REPOSITORY / job["source"]).read_text()
    assert f"first features after {job['start_seconds']} s, peak {job['peak_gb']:.2f} GB" in results
    assert f"GB/s of CPU time | {1 / job['write_core_seconds_per_gb']:.2f}" in results
    assert "0.568 s an image" in results
    per_core = 2 * (0.568 - 0.428) - 0.044 * job["write_core_seconds_per_gb"]
    assert job["beside_core_seconds"] == pytest.approx(per_core, abs=0.005)
    assert "71.9 (without audits 61.5)" in results
    assert job["audit_seconds"] == pytest.approx((71.9 - 61.5) / 4)
    assert "36 to 47 images a second" in results
    assert 2 / 47 < job["decode_core_seconds"] < 2 / 36
    sealing = (REPOSITORY / job["seal_source"]).read_text()
    assert "| 1,000,000 | plan | 1.4 |" in sealing
    assert "| 1,000,000 | seal | 29.8 |" in sealing


def test_models_of_one_entry_are_the_same_modules():
    for entry in VALUES["encoders"]:
        trees = [load_encoder_config(model, ()).tree for model in entry["models"]]
        assert all(tree == trees[0] for tree in trees), entry


def test_a_rate_is_of_the_model_device_precision_and_side_it_was_measured_with_and_of_no_other():
    rate = known_rate("sam2_hiera_tiny", device="cpu", precision="bf16", side_px=1024)
    assert (rate.seconds_per_image, rate.num_cores) == (0.428, 2)
    assert "benchmarks/results/bench_2cores_202611.md" in rate.known_from
    assert known_rate("sam2_hiera_large", device="cpu", precision="bf16", side_px=1024) is None
    assert known_rate("sam2_hiera_tiny", device="cuda", precision="bf16", side_px=1024) is None
    assert known_rate("sam2_hiera_tiny", device="cpu", precision="fp16", side_px=1024) is None
    assert known_rate("sam2_hiera_tiny", device="cpu", precision="bf16", side_px=512) is None
    assert known_job().end_s == pytest.approx(31.4e-6)

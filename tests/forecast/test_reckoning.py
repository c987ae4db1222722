"""The arithmetic: limits, time, requests and dollars of runs whose figures can be worked out by hand."""

from dataclasses import replace

import pytest

from pipeline.forecast.rates import Job, Rate
from pipeline.forecast.reckoning import Means, Prices, Speeds, Work, cpus_needed, forecast
from pipeline.forecast.volume import Volume

# 100 MB an image, ten images to a unit.
VOLUME = Volume(
    num_images=10_000,
    images_per_unit=10,
    map_bytes={"fpn_0": 100_000_000},
    image_bytes=100e6,
    unit_bytes=0.0,
    beside_bytes=0,
    num_files=10,
)
WORK = Work(num_found=10_000, num_images=10_000, in_bytes=10**10)
JOB = Job(
    beside_core_s=0.2, decode_core_s=0.1, write_core_s_per_gb=1.0, start_s=10, audit_s=3, end_s=1e-4, peak_gb=None
)
PRICES = Prices(storage_gb_month=0.02, put_1000=0.005, get_1000=0.0004, gpu_hour=2.0, cpu_hour=0.05)
ON_CPUS = Means("cpu", 1, num_cores=2, link_bytes_s=None)
ON_GPUS = Means("cuda", 10, num_cores=None, link_bytes_s=None)

RATE = Rate(0.4, 2, "test")


def reckon(volume=VOLUME, work=WORK, means=ON_CPUS, rate=RATE):
    return forecast(volume, work, means=means, speeds=Speeds(rate, JOB), prices=PRICES)


def test_on_cpus_what_is_done_beside_the_encoder_takes_its_cores():
    found = reckon(work=replace(WORK, num_audits=4, listing_s=5))
    assert found.limits == {"encoders": pytest.approx((0.4 * 2 + 0.2 + 0.1) / 2)}
    assert found.wall_s == pytest.approx(5 + 10 + 4 * 3 + 10_000 * (0.55 + 1e-4))
    assert found.compute_dollars == pytest.approx(found.wall_s / 3600 * 2 * 0.05)
    assert found.bottleneck == "encoders"
    twice = reckon(means=replace(ON_CPUS, num_encoders=2, num_cores=4))
    assert twice.limits["encoders"] == pytest.approx(0.275)
    elsewhere = reckon(means=Means("cpu", 4, num_cores=None, link_bytes_s=None, are_here=False))
    assert elsewhere.limits["encoders"] == pytest.approx(1.1 / 8), "each has the cores that were measured"
    assert elsewhere.compute_dollars == pytest.approx(elsewhere.wall_s / 3600 * 8 * 0.05), "and they are paid for"


def test_on_gpus_the_slowest_of_encoders_cpus_and_link_sets_the_pace():
    gpus = Rate(0.05, 0, "test")
    free = reckon(means=ON_GPUS, rate=gpus)
    assert free.limits == {"encoders": pytest.approx(0.005)}
    assert free.compute_dollars == pytest.approx(free.wall_s / 3600 * 10 * 2.0)
    few_cores = reckon(means=replace(ON_GPUS, num_cores=20), rate=gpus)
    assert few_cores.bottleneck == "CPUs"
    assert few_cores.limits["CPUs"] == pytest.approx((0.1 + 0.1) / 20)
    assert cpus_needed(VOLUME, rate=gpus, job=JOB, num_encoders=10) == 40
    thin = reckon(means=replace(ON_GPUS, link_bytes_s=2e9), rate=gpus)
    assert thin.bottleneck == "link"
    assert thin.limits["link"] == pytest.approx(0.05)
    large_images = replace(WORK, reads_remote=True, in_bytes=10**13)
    assert reckon(work=large_images, means=replace(ON_GPUS, link_bytes_s=2e9)).limits["link"] == pytest.approx(0.5)


def test_without_a_rate_the_time_is_not_known_but_what_it_takes_at_least_is():
    found = reckon(means=replace(ON_GPUS, link_bytes_s=2e9), rate=None)
    assert (found.wall_s, found.compute_dollars, found.bottleneck) == (None, None, None)
    assert found.least_s == pytest.approx(10_000 * 0.05)
    assert reckon(means=ON_GPUS, rate=None).least_s == 0


def test_requests_and_dollars_are_those_of_stores_alone():
    assert (reckon().num_puts, reckon().num_gets, reckon().request_dollars, reckon().month_dollars) == (0, 0, 0, 0)
    found = reckon(work=replace(WORK, writes_remote=True, reads_remote=True))
    # A shard of 1 GB: begin, 15 parts of 64 MiB, complete; and its commit. 11 pages of listings.
    assert found.num_puts == 1_000 * (1 + 15 + 1 + 1) + 10 + 1 + 10
    assert found.num_gets == 3 * 1_000 + 10_000
    assert found.request_dollars == pytest.approx(found.num_puts * 5e-6 + found.num_gets * 4e-7)
    assert found.month_dollars == pytest.approx(1_000 * 0.02)
    small = reckon(volume=replace(VOLUME, image_bytes=1_000.0), work=replace(WORK, writes_remote=True))
    assert small.num_puts == 1_000 * 2 + 10 + 1


def test_small_objects_can_be_more_than_a_store_takes():
    tiny = replace(VOLUME, image_bytes=1_000.0, images_per_unit=1)
    work = replace(WORK, writes_remote=True)
    found = reckon(volume=tiny, work=work, means=ON_GPUS, rate=Rate(0.001, 0, "test"))
    assert found.bottleneck == "requests"
    assert found.limits["requests"] == pytest.approx(3 / 5_500, rel=0.1)


def test_nothing_to_do_takes_nothing():
    found = reckon(volume=replace(VOLUME, num_images=0), work=replace(WORK, num_images=0))
    assert (found.wall_s, found.num_puts, found.volume.shard_bytes) == (None, 0, 0)

"""The page says what a reader decides by, names what is not known, and shows the change that helps most."""

from dataclasses import replace

import pytest

from pipeline.forecast.disk import Room
from pipeline.forecast.page import Page
from pipeline.forecast.rates import Job, Rate
from pipeline.forecast.reckoning import Means, Prices, Speeds, Work, forecast
from pipeline.forecast.volume import Volume
from tests.small_set import MAPS

JOB = Job(beside_core_s=0.2, decode_core_s=0.1, write_core_s_per_gb=1.0, start_s=10, audit_s=3, end_s=1e-4, peak_gb=4.7)
PRICES = Prices(storage_gb_month=0.02, put_1000=0.005, get_1000=0.0004, gpu_hour=2.0, cpu_hour=0.05)
VOLUME = Volume(
    num_images=1_000_000,
    images_per_unit=10,
    map_bytes={"fpn_0": 43_000_000, "fpn_1": 1_000_000},
    image_bytes=44e6,
    unit_bytes=1_000.0,
    beside_bytes=10**9,
    num_files=10,
)
WORK = Work(num_found=1_200_000, num_images=1_000_000, in_bytes=3 * 10**11, writes_remote=True)
GPUS = Means("cuda", 8, num_cores=None, link_bytes_s=1.25e9, are_here=False)

RATE = Rate(0.03, 0, "as given")


def page(rate=RATE, means=GPUS, work=WORK, room=None, volume=VOLUME) -> Page:
    speeds = Speeds(rate, JOB)
    smaller = replace(volume, image_bytes=8.4e6, map_bytes={"fpn_0": 8_400_000})
    twice = replace(means, num_encoders=2 * means.num_encoders)
    changes = {"": (volume, means), "features=decoder": (smaller, means), "twice": (volume, twice)}
    return Page(
        title="plan of a -> b",
        model="sam2.1_hiera_tiny, bf16",
        choice="features=fpn in float16",
        maps=MAPS,
        pixel_bytes=12_582_912,
        work=work,
        means=means,
        speeds=speeds,
        prices=PRICES,
        forecasts={
            name: forecast(each, work, means=with_means, speeds=speeds, prices=PRICES)
            for name, (each, with_means) in changes.items()
        },
        room=room,
        asks_for_parts=False,
    )


def said(found: Page, name: str) -> str:
    """The block of that name."""
    lines = found.text().splitlines()
    begin = next(place for place, line in enumerate(lines) if line.startswith(f"  {name} "))
    end = next((place for place in range(begin + 1, len(lines)) if lines[place][2:4].strip()), len(lines))
    return "\n".join(line[13:] for line in lines[begin:end])


def test_a_plan_of_gpus_that_are_elsewhere_says_what_they_do_and_what_holds_them_up():
    found = page()
    assert "1,000,000 to embed, 300 GB to read\n1,200,000 found in the source; 200,000 in the feature" in said(
        found, "images"
    )
    assert "44.0 TB in 200,010 objects" in said(found, "on disk")
    assert "8 on cuda, asked for, not here\n0.03 s an image, as given\n8.33 GPU-hours" in said(found, "encoders")
    assert said(found, "time").startswith("10 h: "), "as long as the link takes: 44 TB at 1.25 GB a second"
    assert "write 11.7 GB a second, 1.5 GB each\nthe link to the store takes 1.2 GB a second" in said(found, "writing")
    assert said(found, "slowest").startswith("the link to the store")
    assert "a month: $880, for 44.0 TB" in said(found, "dollars")
    assert said(found, "to change").startswith(
        "most is gained by features=decoder: 10 h -> 114 min, 44.0 TB -> 8.4 TB, $880"
    )
    assert "$2 a GPU and hour, $0.02 a GB and month" in said(found, "rests on")
    assert "CPU nodes and a head come on top" in said(found, "rests on")


def test_where_the_encoders_are_the_slowest_more_of_them_help_most():
    assert said(page(means=replace(GPUS, link_bytes_s=None)), "to change").startswith(
        "most is gained by twice: 64 min -> "
    )
    assert "is not known: give plan.link_gbit_s=" in said(page(means=replace(GPUS, link_bytes_s=None)), "writing")


def test_what_was_not_measured_is_not_made_up():
    found = page(rate=None)
    assert "seconds an image: not measured: give plan.seconds_per_image=, or plan.measure_images=16" in said(
        found, "encoders"
    )
    assert said(found, "time").startswith("at least 10 h, by the link to the store")
    assert "machines not known" in said(found, "dollars")
    assert said(found, "to change").startswith("most is gained by features=decoder: 44.0 TB -> 8.4 TB, $880")
    local = page(rate=None, means=replace(GPUS, link_bytes_s=None), work=replace(WORK, writes_remote=False))
    assert said(local, "time").startswith("not known: ")


def test_cpus_are_told_by_their_cores_and_a_disk_by_its_room():
    cpus = Means("cpu", 1, num_cores=16, link_bytes_s=None)
    room = Room("/data", free_bytes=10**12, free_files=None)
    found = page(Rate(0.4, 2, "measured"), cpus, replace(WORK, writes_remote=False), room)
    assert "1 on cpu with 16 cores in all, found here\n0.4 s an image, measured\n222 core-hours" in said(
        found, "encoders"
    )
    assert "1.0 TB are free there: TOO LITTLE" in said(found, "on disk")
    assert "16 cores are to 2 as their numbers are" in said(found, "rests on")
    assert "these cores are of the kind" not in said(found, "rests on")
    elsewhere = page(Rate(0.4, 2, "measured", is_elsewhere=True), cpus)
    assert "these cores are of the kind that was measured; plan.measure_images=16" in said(elsewhere, "rests on")
    assert "4.7 GB a machine" in said(found, "memory")
    assert "what the disk costs" in said(found, "dollars")


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (Work(num_found=7, num_images=0, in_bytes=0), "nothing to do: all 7 images found"),
        (replace(WORK, run=3), "found in run 3, which is open and would be continued"),
        (replace(WORK, num_unsized=5), "not counting 5 whose size nobody told"),
        (replace(WORK, num_ignored=1), "1 file passed over by name"),
    ],
)
def test_what_is_to_do_is_told(work: Work, words: str):
    volume = replace(VOLUME, num_images=work.num_images)
    assert words in said(page(work=work, volume=volume), "images")

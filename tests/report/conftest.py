"""A browser, and feature sets to report on: photographs with features that the real sinks stored."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from tests.report.pictured import PER_UNIT, PicturedSet

REPOSITORY = Path(__file__).resolve().parents[2]
CHROMIUM = REPOSITORY / ".venv-chromium" / "chromium"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium; its sandbox cannot be had in most containers, and it sees pages of ours alone."""
    if not CHROMIUM.exists():
        pytest.skip("the browser is not there: make .venv-chromium/stamp")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def crops(photographs, tmp_path_factory) -> Path:
    """A folder of 24 parts of photographs, and three files that are no whole images."""
    folder = tmp_path_factory.mktemp("photos")
    chance = random.Random(1)
    for number, (name, path) in enumerate(list(photographs.items()) * 3):
        if number == 24:
            break
        with Image.open(path) as photo:
            width, height = (int(side * chance.uniform(0.4, 0.8)) for side in photo.size)
            left, top = chance.randint(0, photo.width - width), chance.randint(0, photo.height - height)
            part = photo.convert("RGB").crop((left, top, left + width, top + height))
        part.thumbnail((320, 320))
        part.save(folder / f"{number:02d}_{Path(name).stem}.jpg")
    whole = (folder / "03_coffee.jpg").read_bytes()
    (folder / "cut_off.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "no_image.png").write_bytes(b"not an image")
    (folder / "gone.jpg").write_bytes(whole)
    return folder


@pytest.fixture(scope="session")
def pictured(crops, tmp_path_factory) -> PicturedSet:
    """The crops with features, one of which is gone from the source by now, and two in quarantine."""
    made = PicturedSet(tmp_path_factory.mktemp("sets") / "features of photos", crops)
    names = sorted(path.name for path in crops.iterdir())
    units = [names[first : first + PER_UNIT] for first in range(0, len(names), PER_UNIT)]
    made.embed(units, bad=["cut_off.jpg", "no_image.png"])
    (crops / "gone.jpg").unlink()
    return made

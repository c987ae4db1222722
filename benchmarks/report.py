"""A report of many images: seconds to make it, megabytes, and how long a browser takes to open it and to answer.

Images are parts of scikit-image's photographs, vectors in a hundred clusters; there are no maps, whose pictures are as
many whatever the size of the set.
    python benchmarks/report.py [--images 100 2000 10000]
"""

import argparse
import os
import platform
import random
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from pipeline.report.contents import ReportSize
from pipeline.report.writing import write_report
from pipeline.sources.sample import SampleSource
from tests.vector_set import VectorSet, clustered

CHROMIUM = Path(__file__).resolve().parents[1] / ".venv-chromium" / "chromium"
# From an event to the next frame that is drawn, in milliseconds.
_UNTIL_DRAWN = """async (act) => {
    const began = performance.now();
    eval(act);
    await new Promise(requestAnimationFrame);
    await new Promise(done => setTimeout(done));
    return performance.now() - began;
}"""


def photographs(folder: Path, count: int) -> list[str]:
    """That many JPEGs of 480 pixels."""
    chance = random.Random(0)  # noqa: S311
    (batch,) = SampleSource().refs()
    photos = [Image.open(row["uri"]).convert("RGB") for row in batch.to_pylist()]
    names = []
    for number in range(count):
        photo = photos[number % len(photos)]
        width, height = (int(side * chance.uniform(0.4, 0.8)) for side in photo.size)
        left, top = chance.randint(0, photo.width - width), chance.randint(0, photo.height - height)
        names.append(f"{number:06d}.jpg")
        part = photo.crop((left, top, left + width, top + height))
        part.thumbnail((480, 480))
        part.save(folder / names[-1], quality=85)
    return names


def drawn_ms(page: Page, act: str, times: int = 9) -> float:
    """Median milliseconds from doing it until it is drawn."""
    return statistics.median(page.evaluate(_UNTIL_DRAWN, act) for _ in range(times))


def measure(path: Path) -> dict[str, float]:
    """What a browser takes to open the page and to answer."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900}, bypass_csp=True)
        began = time.monotonic()
        page.goto(path.as_uri())
        page.evaluate("new Promise(requestAnimationFrame)")
        found = {"open s": time.monotonic() - began}
        page.locator("#map").scroll_into_view_if_needed()
        key = "document.getElementById('map').dispatchEvent(new KeyboardEvent('keydown', {{key: '{}'}}))"
        found["zoom ms"] = drawn_ms(page, key.format("+"))
        page.evaluate(key.format("0"))
        move = (
            "{ const map = document.getElementById('map'); const box = map.getBoundingClientRect();"
            "map.dispatchEvent(new PointerEvent('pointermove', {clientX: box.x + box.width * Math.random(),"
            " clientY: box.y + box.height * Math.random()})); }"
        )
        found["hover ms"] = drawn_ms(page, move, 25)
        found["step by key ms"] = drawn_ms(page, key.format("ArrowRight"))
        found["neighbours ms"] = drawn_ms(page, key.format("Enter"))
        heap = page.evaluate("performance.memory.usedJSHeapSize")
        found["heap MB"] = heap / 1e6
        browser.close()
    return found


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[100, 2000, 10_000])
    counts = parser.parse_args().images
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        photos.mkdir()
        names = photographs(photos, max(counts))
        made = VectorSet(Path(folder) / "features", folder=photos)
        made.embed_vectors(names, clustered(len(names)))
        machine = f"{len(os.sched_getaffinity(0))} cores ({platform.machine()}), local disk"
        print(f"{datetime.now(tz=UTC):%Y-%m-%d}, {machine}\n", flush=True)
        rows = []
        for count in counts:
            began = time.monotonic()
            path = Path(write_report(made.root, ReportSize(count, 0), dollars_per_gb_month=0.023))
            seconds = time.monotonic() - began
            rows.append({"images": count, "make s": seconds, "page MB": path.stat().st_size / 1e6, **measure(path)})
        print("| " + " | ".join(rows[0]) + " |\n" + "|---" * len(rows[0]) + "|")
        for row in rows:
            print(
                "| "
                + " | ".join(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values())
                + " |"
            )
        print(f"\nload average at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()

"""The page in a real browser: no network, no error, nothing hostile runs, keys and pointers work, axe finds nothing."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

import pipeline
from pipeline.report.contents import ReportSize, contents
from pipeline.report.page import as_data, page, policy
from pipeline.report.sheets import PER_SHEET
from pipeline.report.writing import write_report
from tests.report.pictured import PicturedSet
from tests.vector_set import VectorSet, gaussian

HOSTILE = [
    "</script><script>window.owned = 1</script>.jpg",
    "<img src=x onerror='window.owned = 1'>.jpg",
    "\"'><svg onload=window.owned=1>.jpg",
    "{{ 7 * 7 }}{% raw %}.jpg",
    "\u202egpj.exe\u2066.jpg",
    "a\nb\x1b[31m.jpg",
    "https://u:hunter2hunter2@h/x?sig=hunter2hunter2",
    "\u2028line\u2029.jpg",
]


@pytest.fixture(scope="module")
def written(pictured: PicturedSet) -> Path:
    return Path(write_report(pictured.root, ReportSize(2000, 6), dollars_per_gb_month=0.02))


@contextmanager
def opened(browser: Browser, path: Path, **options: Any) -> Iterator[Page]:
    """The page, from its file; anything it asks a network for or complains about fails the test."""
    page = browser.new_page(**options)
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: request.url.startswith("data:") or troubles.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_function("document.querySelector('#theme[aria-pressed]') !== null")
    try:
        yield page
    finally:
        page.close()
    assert troubles == [path.as_uri()]


def ids_of_neighbours(page: Page) -> list[str]:
    return page.locator("#panel li bdi").all_inner_texts()


def expected_neighbours(uri: str, image_id: str, count: int = 8) -> tuple[list[str], np.ndarray]:
    """The nearest by numpy, and the similarities of all others, greatest first."""
    table = pipeline.open_features(uri).pooled
    ids = table["image_id"].to_pylist()
    vectors = np.array(table["embedding"].to_pylist(), np.float32)
    similarities = vectors @ vectors[ids.index(image_id)]
    order = [each for each in np.argsort(-similarities, kind="stable") if ids[each] != image_id]
    return [ids[each] for each in order[:count]], similarities[order][:count]


def test_counts_on_the_page_are_those_of_the_set(browser: Browser, written: Path, pictured: PicturedSet):
    features = pipeline.open_features(pictured.uri)
    with opened(browser, written) as page:
        assert page.inner_text("#num-images") == str(len(features))
        assert page.inner_text("#num-quarantined") == str(features.quarantine.num_rows)
        planned, embedded, failed = (int(page.inner_text(f"#made tbody td:nth-of-type({n})")) for n in (2, 3, 4))
        assert planned == embedded + failed == len(features) + features.quarantine.num_rows
        shares = page.locator("#causes tbody tr:not(.sum) td:nth-of-type(1)").all_inner_texts()
        assert sum(float(share.rstrip("%")) for share in shares) == pytest.approx(100, abs=2)
        assert page.inner_text("#code").splitlines()[2] == f"features = pipeline.open_features({pictured.uri!r})"
        assert "Random weights" in page.inner_text("header")
        assert page.locator("#quarantine .failures img").count() == 1
        assert {"cut_off.jpg", "no_image.png"} == set(page.locator("#quarantine bdi").all_inner_texts())


def test_a_click_on_an_image_shows_its_nearest(browser: Browser, written: Path, pictured: PicturedSet):
    with opened(browser, written) as page:
        page.locator(".of-image").nth(2).click()
        image_id = page.inner_text("#selected-id")
        names, similarities = expected_neighbours(pictured.uri, image_id)
        assert sorted(ids_of_neighbours(page)) == sorted(names)
        shown = [float(text) for text in page.locator("#panel .similarity").all_inner_texts()]
        np.testing.assert_allclose(shown, similarities, atol=0.0006)
        assert page.evaluate("document.activeElement.id") == "panel"
        page.locator("#panel li button").first.click()
        assert page.inner_text("#selected-id") == names[0]
        assert ids_of_neighbours(page)[0] in expected_neighbours(pictured.uri, names[0])[0]


def test_a_pointer_over_the_map_shows_a_thumbnail_and_a_click_selects(
    browser: Browser, written: Path, pictured: PicturedSet
):
    with opened(browser, written, viewport={"width": 1280, "height": 900}) as page:
        page.locator("#map-frame").scroll_into_view_if_needed()
        box = page.locator("#map").bounding_box()
        assert box is not None
        tip = page.locator("#tip")
        for across, down in product(range(40, int(box["width"]), 30), range(40, int(box["height"]), 30)):
            page.mouse.move(box["x"] + across, box["y"] + down)
            if tip.is_visible():
                break
        image_id = page.inner_text("#tip bdi")
        colours = "c => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size > 8"
        page.wait_for_function(f"({colours})(document.querySelector('#tip canvas'))")
        page.mouse.down()
        page.mouse.up()
        assert page.inner_text("#selected-id") == image_id
        assert set(ids_of_neighbours(page)) <= set(expected_neighbours(pictured.uri, image_id, 9)[0])
        page.mouse.move(5, 5)
        assert tip.is_hidden()


def test_keys_alone_reach_and_work_everything(browser: Browser, written: Path):
    with opened(browser, written) as page:
        reached, order = set(), []
        for _ in range(80):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement === document.body"):
                break  # all around
            name = page.evaluate("(document.activeElement.id || document.activeElement.className).split(' ')[0]")
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", f"nobody sees where {name} is"
            reached.add(name)
            order.append(name)
            if name == "map" and order.count("map") == 1:
                page.keyboard.press("ArrowLeft")
                first = page.inner_text("#tip bdi")
                steps = set()
                for key in ("ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown", "ArrowRight", "ArrowRight"):
                    page.keyboard.press(key)
                    steps.add(page.inner_text("#tip bdi"))
                assert len(steps | {first}) >= 3
                assert page.inner_text("#said") in steps
                page.keyboard.press("+")
                page.keyboard.press("0")
                page.keyboard.press("ArrowRight")
                chosen = page.inner_text("#tip bdi")
                page.keyboard.press("Enter")
                assert page.inner_text("#selected-id") == chosen
        assert {"skip", "theme", "copy", "map", "closer", "whole", "find-text", "of-image"} <= reached
        page.locator(".of-image").first.focus()
        page.keyboard.press("Enter")
        assert page.locator("#panel li").count() == 8
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "panel"
        page.locator("#find-text").fill("chelsea")
        page.keyboard.press("Enter")
        assert "chelsea" in page.inner_text("#selected-id")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_nothing_is_in_the_way_of_anybody(browser: Browser, written: Path, scheme: str, width: int):
    with opened(browser, written, viewport={"width": width, "height": 800}, color_scheme=scheme) as page:
        page.locator(".of-image").first.click()
        page.locator("summary").click()
        assert page.evaluate("document.documentElement.scrollWidth") == width
    # The policy refuses axe too, so it gets a page without one.
    free = written.with_name(f"free_{scheme}_{width}.html")
    free.write_text(re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", written.read_text()))
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.goto(free.as_uri())
    page.locator(".of-image").first.click()
    page.locator("summary").click()
    found = Axe().run(page).response["violations"]
    page.close()
    free.unlink()
    assert [(each["id"], each["impact"], each["nodes"][0]["html"]) for each in found] == []


def test_the_theme_can_be_turned(browser: Browser, written: Path):
    with opened(browser, written, color_scheme="light") as page:
        light = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.locator("#theme").click()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
        assert page.get_attribute("#theme", "aria-pressed") == "true"


def test_hostile_names_stay_text(browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_SECRET_TOKEN", "swordfish-swordfish")
    made = VectorSet(tmp_path / "<b>set")
    ids = [*HOSTILE, "swordfish-swordfish.jpg"]
    bad = "bad<script>window.owned=1</script>"
    made.embed_vectors([*ids, bad], gaussian(len(ids) + 1), bad=[bad])
    path = Path(write_report(made.root, ReportSize(100, 100), dollars_per_gb_month=0.02))
    text = path.read_text()
    assert [each for each in ("hunter2", "swordfish", "\u202e", "\u2066", "\x1b", "\u2028") if each in text] == []
    with opened(browser, path) as page:
        assert page.evaluate("window.owned") is None
        assert page.inner_text("h1") == "<b>set"
        assert page.locator("figcaption bdi").all_inner_texts()[:2] == HOSTILE[:2]
        assert page.locator("main script, main iframe, main [onerror], main [onload]").count() == 0
        page.locator(".of-image").nth(1).click()
        assert page.inner_text("#selected-id") == HOSTILE[1]
        assert page.locator("#panel img, #panel script").count() == 0
        page.locator("#find-text").fill("{{ 7")
        page.keyboard.press("Enter")
        assert page.inner_text("#selected-id") == HOSTILE[3]
        assert page.evaluate("window.owned") is None


def test_the_policy_refuses_what_the_page_did_not_bring(browser: Browser, written: Path):
    page = browser.new_page()
    page.goto(written.as_uri())
    tried = """async () => {
        const inline = document.createElement("script"); inline.textContent = "window.owned = 1";
        document.body.append(inline);
        const asked = await fetch("http://127.0.0.1:9/").then(() => "came", error => error.name);
        const image = new Image(); image.src = "http://127.0.0.1:9/a.png";
        return [window.owned ?? null, asked, await image.decode().then(() => "came", () => "refused")]; }"""
    assert page.evaluate(tried) == [None, "TypeError", "refused"]
    page.close()


def test_a_map_of_thousands_comes_to_rest_with_its_thumbnails(browser: Browser, pictured: PicturedSet, tmp_path: Path):
    made = contents(pictured.root, ReportSize(2000, 2), dollars_per_gb_month=0.02)
    count, chance = 6000, np.random.default_rng(1)  # in sixty sheets, neighbours on the map in different ones
    numbers = np.arange(count)
    made["data"] |= {"ids": [f"{number}.jpg" for number in numbers], "missing": {}}
    made["data"] |= {"heights": [96] * count, "widths": [96] * count, "similarities": [[0.5]] * count}
    made["data"] |= {"nearest": ((numbers + 1) % count)[:, None].tolist()}
    made["data"] |= {axis: chance.uniform(-1, 1, count).round(4).tolist() for axis in "xy"}
    file = tmp_path / "many.html"
    file.write_bytes(page({**made, "sheets": made["sheets"][:1] * (count // PER_SHEET)}))
    with opened(browser, file) as shown:
        shown.evaluate("""() => {
            window.pictures = 0;
            window.drawn = 0;
            const { Image } = window, canvas = CanvasRenderingContext2D.prototype, draw = canvas.drawImage;
            window.Image = function () { window.pictures += 1; return new Image(); };
            canvas.drawImage = function (...its) { window.drawn += 1; draw.apply(this, its); };
        }""")
        for _ in range(6):
            shown.click("#closer")
        seen = [(0, 0)]
        while seen[-1] == (0, 0) or seen[-1] != seen[-2]:
            assert len(seen) < 30, f"it is drawn again though nothing changes: {seen}"
            shown.wait_for_timeout(1000)
            seen.append(tuple(shown.evaluate("[window.pictures, window.drawn]")))
    num_decoded, num_drawn = seen[-1]
    assert 40 < num_decoded <= count // PER_SHEET, "each sheet is decoded once"
    assert num_drawn >= num_decoded


def test_data_cannot_end_its_block():
    told = as_data({"a": "</script><!--&\u2028"})
    assert re.search(r"[<>&\u2028]", told) is None
    assert json.loads(told) == {"a": "</script><!--&\u2028"}


def test_the_policy_names_what_may_run_by_its_hash():
    assert policy("a", "b") != policy("a", "c")
    assert "unsafe" not in policy("a", "b")
    assert policy("a", "b").startswith("default-src 'none'; img-src data:;")

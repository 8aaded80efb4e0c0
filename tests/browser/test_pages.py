"""Report, scoreboard, notebook pages and map in headless Chromium, opened from disk, no network.

The pages are those of a run of the whole pipeline on the tiny dataset, or of a finished run:
GAIRLIB_REPORTS=reports make test-browser
"""

import io
import json
import os
import re
from pathlib import Path

import pytest
from builders.browser_pages import DESKTOP, PHONE, opened, started
from PIL import Image

from research.maps.scene_map import basemap_tiles

pytestmark = pytest.mark.browser
OVER = ".leaflet-overlay-pane img.gairlib-top"


@pytest.fixture(scope="module")
def browser():
    with started() as browser:
        yield browser


@pytest.fixture(scope="module")
def reports(browser, request):
    """The folder reports/ of a run; outputs/ lies beside it."""
    if given := os.environ.get("GAIRLIB_REPORTS"):
        return Path(given).resolve()
    return request.getfixturevalue("run") / "reports"


@pytest.fixture(scope="module")
def scene_map(reports):
    return reports.parent / "outputs/explore/map.html"


# ---------------------------------------------------------------------------- every page


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_page_opens_whole_and_fits_the_window(browser, reports, size, dark):
    pages = sorted(reports.glob("*.html"))
    assert {"index.html", "scoreboard.html", "map.html"} <= {p.name for p in pages}
    assert len(pages) > 7
    wide = {}
    for path in pages:
        with opened(browser, path, size, dark) as found:
            found.clean()
            if path.name == "map.html":
                assert found.page.title().startswith("Map of ")
                assert found.page.locator("html").get_attribute("lang") == "en"
                found.page.wait_for_selector(OVER)
            else:
                assert found.page.title() and found.page.locator("h1").count() >= 1, path
            if found.overflow() > 0:
                wide[path.name] = found.overflow()
            pale = found.page.evaluate(BRIGHTNESS)
            assert pale < 80 if dark else pale > 180, (path.name, pale)
            found.shot(f"{path.stem}-{'dark' if dark else 'light'}-{size[0]}")
    assert wide == {}


# mean of red, green and blue behind the text: the first background that is not clear
BRIGHTNESS = """() => {
  for (const node of [document.body, document.documentElement]) {
    const c = getComputedStyle(node).backgroundColor.match(/[\\d.]+/g).map(Number);
    if (c.length === 3 || c[3] > 0) return (c[0] + c[1] + c[2]) / 3;
  }
  return matchMedia("(prefers-color-scheme: dark)").matches ? 18 : 255;
}"""


BROKEN = """async () => {
  const found = [];
  for (const image of document.images) {
    image.loading = "eager";  // those further down wait for the reader otherwise
    await image.decode().catch(() => found.push(image.alt));
  }
  return found;
}"""


def test_links_and_pictures_of_the_index_are_there(browser, reports):
    with opened(browser, reports / "index.html") as found:
        links = found.page.eval_on_selector_all("a[href]", "all => all.map(a => a.href)")
        assert len(links) > 10
        for link in links:
            path, _, anchor = link.removeprefix("file://").partition("#")
            assert Path(path).exists(), link
            if anchor and path.endswith("index.html"):
                assert found.page.locator(f'[id="{anchor}"]').count() == 1, link
        broken = found.page.evaluate(BROKEN)
        assert broken == [] and found.page.locator("img").count() > 3
        found.page.click('a[href$="scoreboard.html"]')
        assert "Scoreboard" in found.page.title()
        found.clean()


def test_the_scoreboard_sorts_and_filters(browser, reports):
    with opened(browser, reports / "scoreboard.html") as found:
        page = found.page
        tables = page.locator(".board table")
        table = tables.nth(
            max(range(tables.count()), key=lambda i: tables.nth(i).locator("tbody").count())
        )
        assert table.locator("tbody").count() >= 2
        head = table.locator("th", has_text="GAIR [95%]")
        column = head.evaluate("th => [...th.parentNode.children].indexOf(th)")

        def values():
            cells = table.locator(f"tr.numbers td:nth-child({column + 1})")
            texts = cells.evaluate_all("all => all.map(c => c.dataset.sort)")
            return [float(t) for t in texts if t]

        head.locator("button").click()
        assert head.get_attribute("aria-sort") == "descending"
        assert values() == sorted(values(), reverse=True)
        head.locator("button").focus()
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == "ascending" and values() == sorted(values())
        found.shot("scoreboard-sorted")
        page.fill("#find", "no such task")
        assert page.locator(".board tbody:visible").count() == 0
        assert page.inner_text("#shown") == "0 shown"
        page.fill("#find", "")
        assert page.locator(".board tbody:visible").count() > 0
        found.clean()


# ---------------------------------------------------------------------------- the map


def choose(page, name: str) -> None:
    page.locator(".leaflet-control-layers label", has_text=name).first.locator("input").click()


def test_the_map_shows_one_layer_at_a_time(browser, scene_map):
    with opened(browser, scene_map) as found:
        page = found.page
        page.wait_for_selector(OVER)
        names = page.locator(".leaflet-control-layers-base label").all_inner_texts()
        assert len(names) >= 3
        seen = set()
        for name in names:
            choose(page, name.strip())
            shown = page.locator(OVER)
            swipe = name.strip().startswith("Swipe")
            assert shown.count() == (2 if swipe else 0 if name.strip() == "No layer on top" else 1)
            seen |= set(shown.evaluate_all("all => all.map(i => i.src)"))
            wide = shown.evaluate_all("all => all.map(i => i.naturalWidth)")
            assert all(w > 10 for w in wide)
            found.shot("map-" + re.sub(r"\W+", "-", name.strip().lower()))
        assert len(seen) >= 2
        box = page.locator(".leaflet-control-layers-overlays label", has_text="Photos")
        assert page.locator("path.gairlib-photo").count() > 0
        box.locator("input").click()
        assert page.locator("path.gairlib-photo").count() == 0
        box.locator("input").click()
        assert page.locator("path.gairlib-photo").count() > 0
        found.clean()


def test_true_colour_goes_and_comes_back_under_the_layer(browser, scene_map):
    with opened(browser, scene_map) as found:
        page = found.page
        ground = page.locator("img.gairlib-base")
        box = page.locator(".leaflet-control-layers-overlays label", has_text="True colour")
        page.wait_for_selector(OVER)
        assert ground.count() == 1
        box.locator("input").click()
        assert ground.count() == 0
        box.locator("input").click()
        assert ground.count() == 1
        height = "i => Number(getComputedStyle(i.closest('.leaflet-pane')).zIndex)"
        assert ground.evaluate(height) < page.locator(OVER).first.evaluate(height)
        found.clean()


NO_TILES = '<div class="missing" id="gairlib-no-tiles" hidden>It cannot be loaded here</div>'


@pytest.fixture(scope="module")
def map_with_tiles(scene_map, tmp_path_factory):
    """The map as the parameter basemap='OpenStreetMap.Mapnik' makes it."""
    name = "OpenStreetMap.Mapnik"
    page = scene_map.read_text()
    assert page.count('"basemap": null') == 1
    page = page.replace('"basemap": null', '"basemap": ' + json.dumps(basemap_tiles(name)))
    page, lines = re.subn('(<div class="small">North is up)', NO_TILES + r"\1", page)
    assert lines == 1
    path = tmp_path_factory.mktemp("tiles") / "map.html"
    path.write_text(page)
    return path


def test_without_a_network_the_map_says_that_its_tiles_are_missing(browser, map_with_tiles):
    with opened(browser, map_with_tiles) as found:
        page = found.page
        page.locator("#gairlib-no-tiles").wait_for()
        assert "cannot be loaded here" in page.inner_text("#gairlib-no-tiles")
        assert page.locator(OVER).first.evaluate("i => i.complete && i.naturalWidth > 10")
        assert page.locator("path.gairlib-photo").count() > 0
        page.wait_for_function("() => !document.querySelector('.leaflet-tile-pane img')")
        assert found.asked and all("tile.openstreetmap.org" in url for url in found.asked)
        assert all("ERR_" in error for error in found.errors)  # the tiles' own, nothing else
        found.shot("map-without-tiles")


def test_one_tile_that_fails_leaves_the_others(browser, map_with_tiles):
    answered, pixel = [], io.BytesIO()
    Image.new("RGB", (256, 256), (200, 220, 200)).save(pixel, "PNG")

    def tile(route):
        answered.append(route.request.url)
        if len(answered) == 1:
            return route.abort()
        return route.fulfill(body=pixel.getvalue(), content_type="image/png")

    with opened(browser, map_with_tiles, tiles=tile) as found:
        page = found.page
        page.wait_for_function(
            "() => document.querySelectorAll('.leaflet-tile-pane img.leaflet-tile-loaded').length"
        )
        page.wait_for_timeout(500)
        shown = page.locator(".leaflet-tile-pane img.leaflet-tile-loaded").count()
        assert 2 < shown < len(answered) and page.locator("#gairlib-no-tiles").is_hidden()


def test_the_opacity_slider_moves_the_layer_on_top(browser, scene_map):
    with opened(browser, scene_map) as found:
        page = found.page
        layer, slider = page.locator(OVER).first, page.locator("input.gairlib-opacity")
        strength = "i => Number(getComputedStyle(i).opacity)"
        before = layer.evaluate(strength)
        slider.focus()
        for _ in range(5):
            page.keyboard.press("ArrowLeft")
        assert abs(layer.evaluate(strength) - (before - 0.25)) < 0.02
        slider.fill("0")
        assert layer.evaluate(strength) == 0
        found.clean()


def test_the_swipe_follows_the_pointer_and_the_keys(browser, scene_map):
    with opened(browser, scene_map) as found:
        page = found.page
        choose(page, "Swipe")
        handle = page.locator(".gairlib-swipe")
        share = lambda: int(handle.get_attribute("aria-valuenow"))  # noqa: E731
        assert share() == 50
        knob = handle.locator(".knob").bounding_box()
        x, y = knob["x"] + knob["width"] / 2, knob["y"] + knob["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x - 200, y, steps=4)
        page.mouse.up()
        width = page.locator(".leaflet-container").first.bounding_box()["width"]
        assert abs(share() - (50 - 100 * 200 / width)) <= 2
        clips = page.locator(OVER).evaluate_all("all => all.map(i => i.style.clipPath)")
        cut = [sum(float(v) for v in re.findall(r"([\d.]+)%", c)) for c in clips]
        assert len(cut) == 2 and abs(sum(cut) - 100) < 0.5  # left's cut and right's cut meet
        found.shot("map-swipe-moved")
        handle.focus()
        before = share()
        page.keyboard.press("ArrowRight")
        assert share() == before + 2
        found.clean()


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_marker_opens_its_photo_and_leads_to_a_neighbour(browser, scene_map, size):
    with opened(browser, scene_map, size) as found:
        page = found.page
        marker = page.locator("path.gairlib-photo").first
        label = marker.get_attribute("aria-label")
        box = marker.bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        popup = page.locator(".gairlib-popup")
        popup.wait_for()
        page.wait_for_timeout(800)  # the map moves for the pop-up
        name = popup.locator("b").first.inner_text()
        assert label == f"photo {name}" and "(lat, lon)" in popup.inner_text()
        assert popup.locator("img").first.evaluate("i => i.complete && i.naturalWidth > 10")
        frame = popup.bounding_box()
        assert frame["x"] >= 0 and frame["x"] + frame["width"] <= size[0]
        near = popup.locator(".gairlib-near button")
        assert near.count() >= 1 and "cos" in near.first.inner_text()
        found.shot(f"map-popup-{size[0]}")
        other = near.first.get_attribute("title")
        near.first.click()
        page.wait_for_function(
            "n => [...document.querySelectorAll('.gairlib-popup b')]"
            ".some(b => b.textContent === n)",
            arg=other,
        )
        found.clean()


def test_a_marker_answers_the_keyboard(browser, scene_map):
    with opened(browser, scene_map) as found:
        found.page.locator("path.gairlib-photo").last.focus()
        found.page.keyboard.press("Enter")
        found.page.locator(".gairlib-popup").wait_for()
        found.clean()

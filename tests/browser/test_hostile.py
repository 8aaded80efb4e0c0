"""Pages and map of a dataset whose ids, labels, file and folder names are HTML and script."""

import os
from pathlib import Path

import pytest
import yaml
from builders import in_process
from builders.browser_pages import opened, started
from builders.hostile import NAMES, write_hostile
from builders.small_run import SMALL

from research.pipeline import stages

pytestmark = pytest.mark.browser
TASKS = ["rs-eurosat", "sv-weather", "location-warmth-warmth", "retrieval"]
HIT = """() => [window.hit === undefined, document.querySelectorAll(".hit").length,
  document.querySelectorAll("a[href^='javascript:' i]").length,
  [...document.querySelectorAll("[onerror], [onload]")].map((e) => e.outerHTML)]"""

POP_UP = """label => [...document.querySelectorAll(".gairlib-popup b")]
  .some((b) => "photo " + b.textContent === label)"""


@pytest.fixture(scope="module")
def run(project, tiny, tmp_path_factory):
    if given := os.environ.get("GAIRLIB_HOSTILE_RUN"):  # one that is there, while a page is mended
        return Path(given)
    folder = write_hostile(tiny, tmp_path_factory.mktemp("hostile"))
    run = project / "runs/hostile"
    run.mkdir(parents=True)
    (run / "params.local.yaml").write_text(yaml.safe_dump(SMALL | {"tasks": TASKS}))
    in_process.repro(stages.prepare(folder, "hostile", root=project))
    return run


@pytest.fixture(scope="module")
def browser():
    with started() as browser:
        yield browser


def test_no_page_runs_a_script_or_an_element_of_the_data(browser, run):
    pages = sorted([*run.glob("reports/*.html"), *run.glob("outputs/**/*.html")])
    assert {"index.html", "scoreboard.html", "map.html", "11-inspect.html"} <= {
        p.name for p in pages
    }
    for path in pages:
        with opened(browser, path) as found:
            found.page.wait_for_timeout(300)
            for frame in found.page.frames:
                assert frame.evaluate(HIT) == [True, 0, 0, []], path.name
            found.clean()


def test_the_names_of_the_data_are_on_the_pages_as_text(browser, run):
    shown = {}
    for name in ("index", "11-inspect", "20-pair"):
        with opened(browser, run / f"reports/{name}.html") as found:
            for details in found.page.locator("details").all():
                details.evaluate("d => { d.open = true; }")
            shown[name] = " ".join(found.page.inner_text("body").split())
    for text in NAMES[:6]:
        assert any(" ".join(text.split()) in page for page in shown.values()), text


def test_a_photos_pop_up_shows_its_name_as_text(browser, run):
    with opened(browser, run / "outputs/explore/map.html") as found:
        page = found.page
        markers = page.locator("path.gairlib-photo")
        markers.first.wait_for()
        seen = []
        for marker in markers.all():
            seen.append(marker.get_attribute("aria-label"))
            marker.focus()
            page.keyboard.press("Enter")
            page.wait_for_function(POP_UP, arg=seen[-1])
        assert any("<" in name for name in seen)
        assert page.evaluate(HIT) == [True, 0, 0, []]
        found.clean()

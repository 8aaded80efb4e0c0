"""JupyterLab in headless Chromium: the exploration notebook runs and answers a click.

A server of our own on loopback, ended by its process; the notebook is a copy with the folders of
the small run, or of the run whose pages GAIRLIB_REPORTS names. The browser may ask that server and
nothing else. Time from click to answer is taken in the page and printed (`pytest -s`).
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from statistics import median

import nbformat
import pytest
from builders.browser_pages import INSIDE, ROOT, Opened, started

pytestmark = pytest.mark.browser
NOTEBOOK = "55-find-a-photo-by-hand.ipynb"
SIZE = {"chip_px": 32, "chip_m": 320.0}
CLICKS = 12
# 300 on a machine that does nothing else; this one may run other tests
SLOWEST_MS = float(os.environ.get("GAIRLIB_CLICK_MS", 1500))
# Milliseconds from the first input event until its answer was drawn: the text, and where `picture`
# selects a map's overlays, one with a picture that was not there before
WATCH = """([event, answer, picture]) => {
  const text = document.querySelector(answer);
  const overlays = () => picture ? [...document.querySelectorAll(picture)] : [];
  window.took = null;
  addEventListener(event, () => {
    const start = performance.now(), before = new Set(overlays().map(i => i.src));
    const drawn = () => requestAnimationFrame(() => { window.took = performance.now() - start; });
    const look = () => {
      if (!picture) return drawn();
      const image = overlays().find(i => !before.has(i.src));
      if (!image) return requestAnimationFrame(look);
      image.decode().then(drawn, () => requestAnimationFrame(look));
    };
    new MutationObserver((_, self) => { self.disconnect(); look(); })
      .observe(text, {subtree: true, childList: true, characterData: true});
  }, {once: true, capture: true});
}"""


@pytest.fixture(scope="module")
def folder(tiny, embedded, tmp_path_factory):
    """A folder with the notebook, set to the tiny dataset, its pairs and a small model."""
    from gairlib.pairs.pairing import pair

    root = tmp_path_factory.mktemp("lab")
    if reports := os.environ.get("GAIRLIB_REPORTS"):
        run = Path(reports).resolve().parent
        data, outputs = run / "data", run / "outputs"
        values = {
            "folder": data,
            "checkpoint": outputs / "pretrain/model",
            "pairs": outputs / "pair",
        }
    else:
        _, dataset, model = embedded
        pair(
            dataset.photo_table(),
            dataset.scenes(),
            folder=root / "pair",
            photos_root=dataset.folder,
            **SIZE,
            progress=False,
        )
        values = {"folder": tiny, "checkpoint": model / "model", "pairs": root / "pair"}
    notebook = nbformat.read(ROOT / "notebooks" / NOTEBOOK, as_version=4)
    cell = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    cell.source += "".join(f"\n{name} = {str(value)!r}" for name, value in values.items())
    # as jupyter starts kernels in the notebook's folder, gairlib is found by its path
    (root / "notebooks").mkdir()
    nbformat.write(notebook, root / "notebooks" / NOTEBOOK)
    return root


@pytest.fixture(scope="module")
def server(folder):
    """(address, token) of a JupyterLab that serves `folder`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    own = {
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "PYTHONPATH": str(ROOT),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTER_PLATFORM_DIRS": "1",
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
    }
    # no question whether to fetch news: it would lie over the answers
    silent = folder / "settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    silent.parent.mkdir(parents=True)
    silent.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
    options = [
        "--no-browser",
        f"--port={port}",
        "--ip=127.0.0.1",
        f"--notebook-dir={folder}",
        f"--IdentityProvider.token={token}",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--allow-root")
    log = open(folder / "server.log", "w")
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options],
        cwd=folder,
        env={**os.environ, **own},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait(f"{address}/api/status?token={token}", process, folder / "server.log")
        yield address, token
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def wait(url: str, process, log: Path, seconds: float = 90) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)
        except OSError:
            time.sleep(0.3)
    raise AssertionError(f"JupyterLab did not start in {seconds} s: {log.read_text()[-2000:]}")


def test_the_exploration_notebook_answers_clicks(server):
    address, token = server
    with started() as browser:
        context = browser.new_context(viewport={"width": 1400, "height": 1000})
        page = context.new_page()
        page.set_default_timeout(180_000)  # a machine that does other things besides
        found = Opened(page, (*INSIDE, address, address.replace("http", "ws")))
        page.goto(f"{address}/lab/tree/notebooks/{NOTEBOOK}?token={token}&reset")
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        page.wait_for_selector('.jp-NotebookPanel-toolbar >> text="Python 3 (ipykernel)"')
        page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]')
        page.click('.lm-MenuBar-itemLabel:text-is("Run")')
        page.click('.lm-Menu-itemLabel:text-is("Run All Cells")')
        scene = page.locator(".gairlib-scene .leaflet-container, .leaflet-container.gairlib-scene")
        try:
            scene.first.wait_for()
        except Exception:
            found.shot("lab-failed")
            raise
        done = page.locator(".jp-MarkdownOutput, .jp-RenderedMarkdown", has_text="slowest kind")
        done.first.wait_for(state="attached")
        assert page.locator(".jp-RenderedText[data-mime-type*=error]").count() == 0
        scene = scene.first
        scene.scroll_into_view_if_needed()
        page.wait_for_timeout(500)

        assert abs(scene.bounding_box()["height"] - 460) <= 4  # whatever stands beside it
        assert page.locator(".gairlib-credit").count() == 2

        took = {}
        click = clicker(page, scene)
        took["spot"] = timed(page, "mousedown", ".gairlib-near", click)
        near = page.locator(".gairlib-near").first
        assert "Photos most like" in near.inner_text() and near.locator("img").count() >= 1
        assert near.locator("img").first.evaluate("i => i.complete && i.naturalWidth > 10")
        found.shot("lab-spot")

        photos = page.locator(".gairlib-photos select").first
        several = min(CLICKS, photos.locator("option").count() - 2)  # the notebook chose the first
        took["photo"] = timed(
            page,
            "input",
            ".gairlib-place",
            lambda i: photos.select_option(index=2 + i),
            several,
            picture=".gairlib-scene .leaflet-overlay-pane img",
        )
        name = photos.locator("option").nth(1 + several).inner_text()
        assert name in page.locator(".gairlib-place").first.inner_text()
        assert " m" in page.locator(".gairlib-place").first.inner_text()
        found.shot("lab-photo")

        world = page.locator(".gairlib-world .leaflet-container, .leaflet-container.gairlib-world")
        world = world.first
        world.scroll_into_view_if_needed()
        answer = page.locator(".gairlib-world-near").first
        took["world"] = timed(
            page,
            "mousedown",
            ".gairlib-world-near",
            clicker(page, world),
            picture=".gairlib-world .leaflet-field-pane img",
        )
        assert "Location embedding of" in answer.inner_text()
        box = world.bounding_box()
        for pane in ("field", "land"):  # the world fills its map
            picture = world.locator(f".leaflet-{pane}-pane img").first.bounding_box()
            assert all(abs(picture[k] - box[k]) <= 2 for k in box)
        found.shot("lab-world")
        for kind, ms in took.items():
            print(
                f"\n{kind}: {len(ms)} clicks, from click to drawn answer {median(ms):.0f} ms, "
                f"slowest {max(ms):.0f} ms"
            )
            assert median(ms) < SLOWEST_MS
        found.clean()
        context.close()


def clicker(page, element):
    """click(i): the i-th of CLICKS places in the element, each another one."""
    box = element.bounding_box()

    def click(i: int) -> None:
        page.mouse.click(
            box["x"] + (0.25 + 0.04 * i) * box["width"],
            box["y"] + (0.70 - 0.03 * i) * box["height"],
        )

    return click


def timed(
    page, event: str, answer: str, act, times: int = CLICKS, picture: str = ""
) -> list[float]:
    """Milliseconds from each of `times` inputs to its answer: act(i) makes one, `event` is the DOM
    event that it begins with, `answer` the element whose content changes, `picture` the overlays
    of which one changes."""
    found = []
    for i in range(times):
        page.evaluate(WATCH, [event, answer, picture])
        act(i)
        page.wait_for_function("() => window.took !== null", polling=20)
        found.append(page.evaluate("() => window.took"))
        page.wait_for_timeout(400)  # so that two clicks are never one double click
    return found

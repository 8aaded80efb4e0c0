"""Headless Chromium for the tests in test_browser_*.py: pages opened as a reader opens them.

The browser is Debian's package `chromium` (or GAIRLIB_CHROMIUM=/path); playwright only drives it.
A page is opened from disk with the network off. What it says on its console, what goes wrong in its
scripts and what it asks for outside its own folder is kept, so that a test can say there is none.
"""

import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHOTS = ROOT / "outputs-browser"  # screenshots, to be looked at; git ignores them
DESKTOP, PHONE = (1280, 900), (390, 844)
INSIDE = ("file:", "data:", "blob:", "about:")


def chromium() -> str:
    """Path of the browser; skips the test, saying why, where there is none."""
    pytest.importorskip("playwright", reason="playwright is not installed: make env")
    found = os.environ.get("GAIRLIB_CHROMIUM") or shutil.which("chromium")
    if not found:
        pytest.skip("no chromium: apt-get install chromium, or name one with GAIRLIB_CHROMIUM")
    return found


@contextmanager
def started():
    """A running browser. Root needs --no-sandbox (containers); the pages are our own."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


class Opened:
    """A page, and what a reader does not see: .errors (console and scripts), .asked (requests)."""

    def __init__(self, page, allowed: tuple[str, ...] = INSIDE):
        self.page, self.errors, self.asked = page, [], []
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: self.errors.append(str(e)))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith(allowed) else self.asked.append(request.url)
            ),
        )

    def clean(self) -> None:
        assert self.errors == [] and self.asked == []

    def overflow(self) -> int:
        """How many pixels the page is wider than the window."""
        return self.page.evaluate(
            "Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"
            " - document.documentElement.clientWidth"
        )

    def shot(self, name: str, full: bool = False) -> None:
        SHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png", full_page=full)


@contextmanager
def opened(browser, path: Path, size=DESKTOP, dark: bool = False, tiles=None):
    """A file in a window of `size` pixels, the network off; tiles(route) may answer what it asks
    from outside."""
    context = browser.new_context(
        offline=tiles is None,
        viewport={"width": size[0], "height": size[1]},
        has_touch=size == PHONE,
        is_mobile=size == PHONE,  # which minds the page's own word on its width
        color_scheme="dark" if dark else "light",
    )
    if tiles:
        context.route(re.compile("^http"), tiles)
    found = Opened(context.new_page())
    found.page.goto(Path(path).resolve().as_uri(), wait_until="load")
    yield found
    context.close()

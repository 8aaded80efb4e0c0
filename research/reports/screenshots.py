"""README's pictures: the map and the report of a finished run, taken by headless Chromium.

`make pictures`, or python -m research.reports.screenshots [--run FOLDER] [--out docs]. Debian's
chromium (or GAIRLIB_CHROMIUM) is driven by playwright, with the network off; WebP keeps each
picture below 300 kB.
"""

import argparse
import io
import os
import shutil
from pathlib import Path

from PIL import Image

from gairlib.errors import BadInput, Missing

BYTES = 300_000
WINDOW = {"width": 1280, "height": 800}
PAGES = {"map": "outputs/explore/map.html", "report": "reports/index.html"}
QUALITIES = (90, 80, 70, 55)


def take(run: str | Path = ".", out: str | Path = "docs") -> list[Path]:
    """Write out/map.webp and out/report.webp; Missing names the page or the browser that lacks."""
    from playwright.sync_api import sync_playwright

    run, out = Path(run).resolve(), Path(out)
    pages = {name: run / path for name, path in PAGES.items()}
    for path in pages.values():
        if not path.is_file():
            raise Missing(f"{path} is not there: finish the run first (make repro)")
    browser_path = os.environ.get("GAIRLIB_CHROMIUM") or shutil.which("chromium")
    if not browser_path:
        raise Missing("no chromium: apt-get install chromium, or set GAIRLIB_CHROMIUM to its path")
    out.mkdir(parents=True, exist_ok=True)
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    written = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=options)
        for name, path in pages.items():
            page = browser.new_page(viewport=WINDOW, color_scheme="light", offline=True)
            page.goto(path.as_uri(), wait_until="load")
            if name == "map":
                _pop_up(page)
            written.append(compress(page.screenshot(), out / f"{name}.webp"))
            page.close()
        browser.close()
    return written


def _pop_up(page) -> None:
    """Open a photo's pop-up, where the scene has photos, and let the map come to rest."""
    markers = page.locator("path.gairlib-photo").all()
    if markers:  # the one with the most room above it
        aim = WINDOW["width"] / 2, 0.85 * WINDOW["height"]
        middles = [
            (b["x"] + b["width"] / 2, b["y"] + b["height"] / 2)
            for b in (m.bounding_box() for m in markers)
        ]
        away = [(x - aim[0]) ** 2 + (y - aim[1]) ** 2 for x, y in middles]
        markers[away.index(min(away))].focus()
        page.keyboard.press("Enter")
        page.locator(".gairlib-popup").wait_for()
    page.wait_for_timeout(800)


def compress(png: bytes, path: Path, limit: int = BYTES) -> Path:
    """Write a screenshot as WebP of at most `limit` bytes, in the best quality that fits."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    for quality in QUALITIES:
        buffer = io.BytesIO()
        image.save(buffer, "webp", quality=quality, method=6)
        if buffer.tell() <= limit:
            path.write_bytes(buffer.getvalue())
            return path
    raise BadInput(f"{path}: {buffer.tell():,} bytes even at quality {quality}, {limit:,} allowed")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", default=".", help="folder with outputs/ and reports/")
    parser.add_argument("--out", default="docs")
    given = parser.parse_args()
    for path in take(given.run, given.out):
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")

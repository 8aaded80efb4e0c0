"""What is known about a scene beside its pixels: date, cloud cover and the baseline offset.

From processing baseline 04.00 on (January 2022) Sentinel-2's numbers are 1000 too high, unless
whoever distributed the file has taken the offset out again; missing it shifts every spectrum by 0.1
in reflectance. In order of trust:

1. the STAC item (s2:processing_baseline, processing:version; else the offset that its bands
   declare with their scale, -0.1 in reflectance). `earthsearch:boa_offset_applied` true says that
   the offset is gone already. False is known to stand at items whose offset is gone all the same
   (issues 33, 66 and 71 of Earth Search's two repositories), so there the pixels have a say: the
   offset is taken to be gone if the darkest band's first percentile is below 500, which with the
   offset on would be a reflectance below -0.05;
2. the file's own GeoTIFF tags (Earth Engine's exports keep PROCESSING_BASELINE; those of its
   "harmonized" collection carry a late baseline and no offset, which their LICENSE tag tells), or
   the metadata and the name of the product folder (MTD_MSIL2A.xml, ..._N0400_...);
3. the column processing_baseline of scenes.csv;
4. a layout that settles it (EuroSAT's tiles are from before 2022);
5. a guess from the pixels: offset where even the darkest band's first percentile is above 900.
   Some pixel of a real scene nearly always falls below 900 (reflectance 0.09: water, shadow,
   vegetation in the visible, snow in B11 and B12); bare bright desert is where the guess can fail.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gairlib.errors import BadInput

OFFSET = 1000  # DN
OFFSET_FROM = 4.0  # processing baseline
DARKEST = 900.0  # DN; see 5. above
TOO_DARK = 500.0  # DN; see 1. above
GUESSED = "guessed from pixels"
GONE = "stac (offset already removed)"


def sidecar(path: str | Path) -> dict:
    """The STAC item of the same stem beside a raster, or {}; BadInput if it is not valid JSON."""
    path = Path(path).with_suffix(".json")
    if not path.is_file():
        return {}
    try:
        item = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as problem:
        raise BadInput(f"{path}: not readable as a STAC item (JSON): {problem}") from problem
    if not isinstance(item, dict):
        raise BadInput(f"{path}: a STAC item is a JSON object")
    return item


def band_names(item: dict, filename: str) -> list[str | None]:
    """Band names of the asset that points at `filename` (eo:bands, or bands in STAC 1.1), or []."""
    for asset in (item.get("assets") or {}).values():
        if Path(str(asset.get("href", ""))).name == filename:
            listed = asset.get("eo:bands") or asset.get("bands") or []
            keys = ("name", "eo:common_name", "common_name")
            return [next((b[k] for k in keys if b.get(k)), None) for b in listed]
    return []


def baseline_number(text, what: str = "file") -> float:
    """ "05.09", "N0509", 5.09 -> 5.09; BadInput otherwise."""
    found = re.fullmatch(r"[Nn]?(\d{1,2})\.?(\d{2})?0?", str(text).strip())
    if not found:
        raise BadInput(f"{what}: processing baseline {text!r} is not of the form 05.09 or N0509")
    return int(found[1]) + int(found[2] or 0) / 100


def offset(
    item: dict, tags: dict, declared, layout: str, sample: np.ndarray | Callable, what: str = "file"
) -> tuple[int, str]:
    """The offset to subtract (0 or 1000) and where that is known from.

    item: STAC item or {}; tags: the file's GeoTIFF tags; declared: scenes.csv's
    processing_baseline or None; sample: [10, n] raw DN, nodata 0, or a function that gives it
    (called only where pixels must decide).
    """
    properties = item.get("properties") or {}
    gone = properties.get("earthsearch:boa_offset_applied")
    if gone is True:
        return 0, GONE
    known = _of_item(item, what)
    if known is not None:
        if known and gone is False and _darkest(sample) < TOO_DARK:
            return 0, "stac (offset already removed, as the pixels show)"
        return known, "stac"
    if any("_HARMONIZED" in str(v) for v in tags.values()):
        return 0, "tags (harmonised collection)"
    if tags.get("PROCESSING_BASELINE"):
        return _of(tags["PROCESSING_BASELINE"], what), "tags"
    if declared is not None:
        return _of(declared, what), "scenes.csv"
    if layout == "eurosat-ms":
        return 0, "layout"
    return (OFFSET if _darkest(sample) > DARKEST else 0), GUESSED


def _darkest(sample) -> float:
    """The first percentile of the darkest band; NaN, which is neither above nor below anything,
    where no pixel has a value in every band."""
    sample = sample() if callable(sample) else sample
    valid = sample[:, (sample > 0).all(axis=0)]
    return np.percentile(valid, 1.0, axis=1).min() if valid.size else float("nan")


def _of_item(item: dict, what: str) -> int | None:
    """The offset by a STAC item's baseline, else by what its bands declare, else None."""
    properties = item.get("properties") or {}
    baseline = properties.get("s2:processing_baseline")
    if baseline is None and re.fullmatch(r"\d\d\.\d\d", str(properties.get("processing:version"))):
        baseline = properties["processing:version"]
    if baseline is not None:
        return _of(baseline, what)
    declared = None
    for asset in (item.get("assets") or {}).values():
        for band in (asset, *(asset.get("raster:bands") or asset.get("bands") or [])):
            scale = band.get("scale", band.get("raster:scale"))
            shift = band.get("offset", band.get("raster:offset"))
            if isinstance(scale, int | float) and isinstance(shift, int | float) and scale > 0:
                declared = max(declared or 0, round(-shift / scale))
    return declared if declared in (0, OFFSET) else None


def product_tags(folder: Path) -> dict[str, str]:
    """What a Sentinel-2 product folder says of itself, under the names that date_and_cloud and
    offset know: from MTD_MSIL1C.xml or MTD_MSIL2A.xml, else from the folder's name."""
    tags = {}
    for path in sorted(folder.glob("MTD_MSIL*.xml")):
        text = path.read_text(encoding="utf-8", errors="replace")
        for key, name in (
            ("PROCESSING_BASELINE", "PROCESSING_BASELINE"),
            ("datetime", "PRODUCT_START_TIME"),
            ("CLOUDY_PIXEL_PERCENTAGE", "Cloud_Coverage_Assessment"),
        ):
            found = re.search(rf"<{name}>\s*([^<\s]+)\s*</{name}>", text)
            if found:
                tags[key] = found[1]
    named = re.search(r"_N(\d{4})_", folder.name)
    if named:
        tags.setdefault("PROCESSING_BASELINE", named[1])
    return tags


def date_of_name(name: str) -> str | None:
    """The first 20220101T102319 of a product's or band file's name as ISO text, or None."""
    found = re.search(r"(?<!\d)(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(?!\d)", name)
    return "{}-{}-{}T{}:{}:{}Z".format(*found.groups()) if found else None


def _of(baseline, what: str) -> int:
    return OFFSET if baseline_number(baseline, what) >= OFFSET_FROM else 0


def date_and_cloud(item: dict, tags: dict, row: dict) -> tuple[str | None, float]:
    """Acquisition time (ISO text or None) and the scene's cloud cover in percent (NaN: unknown)."""
    properties = item.get("properties") or {}
    when = properties.get("datetime") or properties.get("start_datetime") or row.get("datetime")
    when = when or tags.get("datetime")
    if when is None and str(tags.get("system-time_start", "")).isdigit():  # Earth Engine, ms
        seconds = int(tags["system-time_start"]) / 1000
        when = str(np.datetime64(int(seconds), "s")) + "Z"
    for value in (
        properties.get("eo:cloud_cover"),
        row.get("cloud_cover"),
        tags.get("CLOUDY_PIXEL_PERCENTAGE"),
    ):
        try:
            cloud = float(value)
        except (TypeError, ValueError):
            continue
        if np.isfinite(cloud):
            return when, cloud
    return when, float("nan")

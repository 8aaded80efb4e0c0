"""What is known about a scene beside its pixels: date, cloud cover, and the baseline offset.

From processing baseline 04.00 on (January 2022) Sentinel-2's numbers are 1000 too high, unless
whoever distributed the file has taken the offset out again; missing it shifts every spectrum by 0.1
in reflectance. In order of trust:

1. the STAC item beside the file (s2:processing_baseline; `earthsearch:boa_offset_applied` says that
   the offset is gone already);
2. the file's own GeoTIFF tags (Earth Engine's exports keep PROCESSING_BASELINE; those of its
   "harmonized" collection carry a late baseline and no offset, which their LICENSE tag tells);
3. the column processing_baseline of scenes.csv;
4. a layout that settles it (EuroSAT's tiles are from before 2022);
5. a guess from the pixels: offset where even the darkest band's first percentile is above 900.
   Some pixel of a real scene nearly always falls below 900 (reflectance 0.09: water, shadow,
   vegetation in the visible, snow in B11 and B12); bare bright desert is where the guess can fail.
"""

import json
import re
from pathlib import Path

import numpy as np

from gairlib.errors import BadInput

OFFSET = 1000  # DN
OFFSET_FROM = 4.0  # processing baseline
DARKEST = 900.0  # DN; see 5. above
GUESSED = "guessed from pixels"


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
    item: dict, tags: dict, declared, layout: str, sample: np.ndarray, what: str = "file"
) -> tuple[int, str]:
    """The offset to subtract (0 or 1000) and where that is known from.

    item: STAC item or {}; tags: the file's GeoTIFF tags; declared: scenes.csv's
    processing_baseline or None; sample: [10, n] raw DN, nodata 0.
    """
    properties = item.get("properties") or {}
    if properties.get("earthsearch:boa_offset_applied") is True:
        return 0, "stac (offset already removed)"
    if properties.get("s2:processing_baseline") is not None:
        return _of(properties["s2:processing_baseline"], what), "stac"
    if any("_HARMONIZED" in str(v) for v in tags.values()):
        return 0, "tags (harmonised collection)"
    if tags.get("PROCESSING_BASELINE"):
        return _of(tags["PROCESSING_BASELINE"], what), "tags"
    if declared is not None:
        return _of(declared, what), "scenes.csv"
    if layout == "eurosat-ms":
        return 0, "layout"
    valid = sample[:, (sample > 0).all(axis=0)]
    if not valid.size:
        return 0, GUESSED
    darkest = np.percentile(valid, 1.0, axis=1).min()
    return (OFFSET if darkest > DARKEST else 0), GUESSED


def _of(baseline, what: str) -> int:
    return OFFSET if baseline_number(baseline, what) >= OFFSET_FROM else 0


def date_and_cloud(item: dict, tags: dict, row: dict) -> tuple[str | None, float]:
    """Acquisition time (ISO text or None) and the scene's cloud cover in percent (NaN: unknown)."""
    properties = item.get("properties") or {}
    when = properties.get("datetime") or row.get("datetime")
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

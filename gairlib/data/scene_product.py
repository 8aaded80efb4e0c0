"""What a product says of itself beside its pixels: in its STAC item, its metadata and its name."""

import re
from pathlib import Path

import numpy as np

from gairlib.data import sentinelhub
from gairlib.data.boundary import listing, parsed, reading
from gairlib.errors import BadInput


def sidecar(path: str | Path) -> dict:
    """The STAC item of the same stem or name beside a raster, else what a request of sentinelhub-py
    says of it, or {}; BadInput if it is not valid JSON."""
    beside = (Path(path).with_suffix(".json"), Path(f"{path}.json"))  # openEO: x.tif.json
    response, path = Path(path), next((p for p in beside if p.is_file()), None)
    if path is None:
        return sentinelhub.item(response)
    with reading(path, "not readable as a STAC item (JSON)"):
        item = parsed(path.read_text(encoding="utf-8-sig"))
    if not isinstance(item, dict):
        raise BadInput(f"{path}: a STAC item is a JSON object")
    for name in ("properties", "assets"):
        if not isinstance(item.get(name) or {}, dict):
            raise BadInput(f"{path}: {name} of a STAC item is a JSON object")
    return item


def baseline_number(text, what: str = "file") -> float:
    """ "05.09", "N0509", 5.09 -> 5.09; BadInput otherwise. A table program makes 5.1 of 05.10 and
    210 of 0210."""
    found = re.fullmatch(
        r"[Nn]?(\d{1,2})(?:\.(\d{1,2})0*)?|[Nn]?(\d{1,2})(\d\d)", str(text).strip()
    )
    if not found:
        raise BadInput(f"{what}: processing baseline {text!r} is not of the form 05.09 or N0509")
    major, minor = found.group(1, 2) if found[1] else found.group(3, 4)
    return int(major) + int((minor or "0").ljust(2, "0")) / 100


def baseline_of_name(*names) -> str | None:
    """The processing baseline in the first of some names of products or tiles that has one: "02.14"
    of S2A_MSIL2A_20200601T113331_N0214_R080_T30UVG_20200601T123416, also in a path or an address.
    None where Sen2Cor was run by a user (N9999), or where N stands for north."""
    for part in (part for name in names for part in re.split(r"[/\\]", str(name))):
        found = re.search(r"(?<![A-Za-z0-9])N(0\d)\.?(\d\d)(?![A-Za-z0-9])", part)
        if found and not re.search(r"(?<![A-Za-z0-9])[EW]\d{2,6}(?![A-Za-z0-9])", part):
            return f"{found[1]}.{found[2]}"
    return None


def product_tags(folder: Path) -> dict[str, str]:
    """What a Sentinel-2 product folder says of itself, under the names that date_and_cloud and
    offset know: from MTD_MSIL1C.xml or MTD_MSIL2A.xml, else from the folder's name."""
    tags, tile = {}, None
    for path in listing(folder, deep=True).files:
        if re.fullmatch(r"MTD_TL\.xml|S2._.*_L(1C|2A)_TL_.*\.xml", path.name):
            with reading(path, "not readable as product metadata"):
                text = path.read_text(encoding="utf-8", errors="replace")
            tile = (re.search(r"<TILE_ID\b[^>]*>\s*([^<\s]+)", text) or ("", tile))[1]
        if not re.fullmatch(r".*MTD_(MSI|SAF)L.*\.xml", path.name):
            continue
        with reading(path, "not readable as product metadata"):
            text = path.read_text(encoding="utf-8", errors="replace")
        for key, name in (
            ("PROCESSING_BASELINE", "PROCESSING_BASELINE"),
            ("datetime", "PRODUCT_START_TIME"),
            ("CLOUDY_PIXEL_PERCENTAGE", "Cloud_Coverage_Assessment"),
        ):
            found = re.search(rf"<{name}>\s*([^<\s]+)\s*</{name}>", text)
            if found:
                tags[key] = found[1]
        added = {int(v) for v in re.findall(r"_ADD_OFFSET\b[^>]*>\s*(-?\d+)\s*<", text)}
        if len(added) > 1:
            raise BadInput(f"{path}: its bands have offsets of {sorted(added)}; one is read")
        if added:
            tags["ADD_OFFSET"] = str(added.pop())
        if tags.get("PROCESSING_BASELINE", "").startswith("99"):  # Sen2Cor run by a user
            del tags["PROCESSING_BASELINE"]
            tags.setdefault("ADD_OFFSET", "0")  # it lists the offset where there is one
        full = re.search(r"<(?:BOA_|L2A_BOA_)?QUANTIFICATION_VALUE\b[^>]*>\s*(\d+)", text)
        if full and full[1] != "10000":
            raise BadInput(f"{path}: reflectance x {full[1]}; only reflectance x 10000 is read")
    if "PROCESSING_BASELINE" not in tags and (named := baseline_of_name(folder.name, tile)):
        tags["PROCESSING_BASELINE"] = named
    return tags


def date_of_name(name: str) -> str | None:
    """The first 20220101T102319 of a product's or band file's name as ISO text, else its first
    20220101 or 2022-01-01 (Earth Search, openEO), else None."""
    found = re.search(r"(?<!\d)(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(?!\d)", name)
    if found:
        return "{}-{}-{}T{}:{}:{}Z".format(*found.groups())
    day = r"(?<!\d)(20[123]\d)(-?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?!\d)"
    found = re.search(day, name)
    return f"{found[1]}-{found[3]}-{found[4]}" if found else None


def date_and_cloud(item: dict, tags: dict, row: dict) -> tuple[str | None, float]:
    """Acquisition time (ISO text or None) and the scene's cloud cover in percent (NaN: unknown)."""
    properties = item.get("properties") or {}
    said = [properties.get("datetime"), properties.get("start_datetime")]
    said += [row.get("datetime"), tags.get("datetime")]
    when = next((one for one in said if isinstance(one, str) and one), None)
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

"""What sentinelhub-py keeps of a request beside its answer, told as a STAC item would tell it.

Each request has a folder: `request.json` and `response.tiff`, whose bands have no names. Which they
are says the evalscript, JavaScript of which the usual form alone is understood: one `return` in
evaluatePixel of plain bands, all by the same factor or none. Anything else gives bands whose names
are no band's, so that the file is refused until its bands are named or its layout is declared.

Sources: sentinelhub-py (sentinelhub/download/models.py), Sentinel Hub's documentation of evalscript
V3 and of harmonizeValues (true by default: the offset of late baselines is taken out; reflectance
never has it).
"""

import re
from pathlib import Path

from gairlib.data.boundary import parsed, reading
from gairlib.errors import BadInput

REQUEST = "request.json"
SENTINEL_2 = re.compile(r"sentinel-2-l(1c|2a)|S2L(1C|2A)", re.I)
_SAMPLE = r"\w+(?:\[0\])?\.(\w+)"
_VALUE = re.compile(rf"(?:(1000|10000)\*)?{_SAMPLE}(?:([*/])(1000|10000))?")
_RETURN = re.compile(r"\breturn\s*(?:\{\s*['\"]?\w+['\"]?\s*:\s*)?\[([^\[\]]*(?:\[0\][^\[\]]*)*)\]")


def item(response: Path) -> dict:
    """A STAC item of an answer: its bands, their unit, its day where the request asks for one, and
    whether the baseline's offset is gone. {} where no request lies beside it, or none of a script.
    BadInput where the request cannot be read, or is of another satellite."""
    path = response.with_name(REQUEST)
    if response.stem != "response" or not path.is_file():
        return {}
    with reading(path, "not readable as a request of sentinelhub-py"):
        content = parsed(path.read_text(encoding="utf-8-sig"))
        payload = content.get("request", content).get("payload") or {}
        script = payload.get("evalscript")
        if not script:
            return {}
        sources = payload["input"]["data"]
        other = [str(s["type"]) for s in sources if not SENTINEL_2.fullmatch(str(s["type"]))]
        if other:
            raise BadInput(f"{path}: the request is for {other[0]}, which is no Sentinel-2")
        names, scale = outputs(script)
        numbers = scale == 1e4 and not _reflectance(script)
        processing = sources[0].get("processing") or {}
        harmonised = str(processing.get("harmonizeValues", True)).lower() != "false"
        about = {} if numbers and not harmonised else {"sentinelhub:boa_offset_applied": True}
        span = (sources[0].get("dataFilter") or {}).get("timeRange") or {}
        days = {str(span.get(end))[:10] for end in ("from", "to")}
        if len(days) == 1 and re.fullmatch(r"\d{4}-\d\d-\d\d", min(days)):
            about["datetime"] = min(days)
    bands = [{"name": name} for name in names]
    if scale == 1:
        bands = [band | {"unit": "reflectance"} for band in bands]
    return {"properties": about, "assets": {"response": {"href": response.name, "bands": bands}}}


def outputs(script: str) -> tuple[list[str], float | None]:
    """The band of each output of an evalscript, and what reflectance is multiplied by in it (1, or
    10000). Where that cannot be told: texts that name no band, and None."""
    script = re.sub(r"/\*.*?\*/|(?<!:)//[^\n]*", "", script, flags=re.S)
    start = re.search(r"\bfunction\s+evaluatePixel\b|\bevaluatePixel\s*=", script)
    body = re.split(r"\bfunction\s+\w", script[start.end() :])[0] if start else ""
    found = _RETURN.findall(body) if len(re.findall(r"\breturn\b", body)) == 1 else []
    parts = [re.sub(r"\s", "", p) for p in found[0].split(",")] if len(found) == 1 else []
    parts = [p for p in parts if p]
    values = [_VALUE.fullmatch(p) for p in parts]
    if parts and all(values):
        masks = {"dataMask", "SCL", "CLM", "CLP"}
        factors = {_factor(*v.group(1, 3, 4)) for v in values if v[2] not in masks}
        unit = 1.0 if _reflectance(script) else 1e4
        if len(factors) == 1 and (scale := unit * factors.pop()) in (1.0, 1e4):
            return [v[2] for v in values], scale
    stated = re.search(r"\bbands\s*:\s*(\d+)", script)
    count = len(parts) or int(stated[1] if stated else 0)
    return [f"output {k} of the evalscript" for k in range(1, count + 1)], None


def _factor(before: str | None, sign: str | None, after: str | None) -> float:
    factor = float(before or 1)
    return factor / float(after) if sign == "/" else factor * float(after or 1)


def _reflectance(script: str) -> bool:
    """Whether the script's input is reflectance, as it is by default, and not digital numbers."""
    return re.search(r"\bunits\s*:\s*\[?\s*['\"]DN['\"]", script) is None

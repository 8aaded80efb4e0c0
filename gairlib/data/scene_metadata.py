"""The scale of a scene's numbers and the offset of its processing baseline: where they are known.

From processing baseline 04.00 on (January 2022) Sentinel-2's numbers are 1000 too high, unless
whoever distributed the file has taken the offset out again; missing it shifts every spectrum by 0.1
in reflectance. In order of trust:

0. the scale and offset that the file itself declares (0.0001 and -0.1 or 0; GDAL's, as xarray
   and odc write them); any other scale is refused, never taken for DN;
1. the STAC item (s2:processing_baseline, sentinel:processing_baseline, processing:version; else the
   product's name in s2:product_uri, sentinel:product_id, title, id or an asset's address; else the
   offset that its bands declare with their scale, -0.1 in reflectance). Where an item's grids
   spare opening files on a server, their own tags are asked only if the item says none of this.
   `earthsearch:boa_offset_applied` (or `sentinel:...`) true says that the offset is gone already,
   whatever else is declared. False is known to stand at items whose offset is gone all the same
   (issues 33, 66 and 71 of Earth Search's two repositories), so there the pixels have a say: the
   offset is taken to be gone if the darkest band's first percentile is below 500, which with the
   offset on would be a reflectance below -0.05, and so where baseline and bands disagree;
2. the file's own GeoTIFF tags (Earth Engine's exports keep PROCESSING_BASELINE; those of its
   "harmonized" collection carry a late baseline and no offset, which their LICENSE tag tells), or
   the metadata and the name of the product folder (MTD_MSIL2A.xml, MTD_TL.xml, ..._N0400_...);
3. the column processing_baseline of scenes.csv, else the product's name in the name of the file or
   its folder (..._N0400_...tif) or in its tags; as tools keep that name when they take the offset
   out, the pixels have a say as in 1;
4. a layout that settles it (EuroSAT's tiles are from before 2022);
5. a guess from the pixels: offset where even the darkest band's first percentile is above 900.
   Some pixel of a real scene nearly always falls below 900 (reflectance 0.09: water, shadow,
   vegetation in the visible, snow in B11 and B12). Bare bright desert is such a scene without an
   offset: where ground would be left with hardly any blue beside its red, nothing is taken off;
   where both readings are possible (red sand), the scene is refused.
"""

import contextlib
import re
from collections.abc import Callable, Sequence

import numpy as np

from gairlib.bands import BANDS, canonical
from gairlib.data.boundary import reading
from gairlib.data.scene_product import baseline_number, baseline_of_name
from gairlib.errors import BadInput

OFFSET = 1000  # DN
OFFSET_FROM = 4.0  # processing baseline
DARKEST = 900.0  # DN; see 5. above
TOO_DARK = 500.0  # DN; see 1. above
BRIGHT_GROUND = 800.0  # DN of B04 without offset; above it ground is bare
# Bare ground's B02 is 0.35 to 0.9 of its B04, of red sand 0.2 and more; with 1000 taken off that
# was not in it, it seems to be less.
BLUE_OF_RED = (0.2, 0.35)
PRODUCT_NAMES = (  # properties of STAC items in which the product's name may stand
    *("s2:product_uri", "s2:product_id", "sentinel:product_id", "sentinel2:product_id"),
    *("s2:granule_id", "title", "product_id", "identifier"),
)
GUESSED = "guessed from pixels"
GONE = "stac (offset already removed)"


Scale = tuple[float, float]  # reflectance = number x scale + offset


def declared_scale(source, indexes: Sequence[int], what: str) -> Scale | None:
    """The scale and offset that an open raster declares for its bands, to GDAL or in CF's tags
    scale_factor and add_offset; None: it declares none. BadInput where they differ from band to
    band."""
    found = [(source.scales[i - 1], source.offsets[i - 1]) for i in indexes]
    if set(found) == {(1.0, 0.0)}:
        tags = [source.tags() | source.tags(i) for i in indexes]
        with reading(what, "its tags scale_factor and add_offset are no numbers"):
            found = [(float(t.get("scale_factor", 1)), float(t.get("add_offset", 0))) for t in tags]
    if len(set(map(str, found))) > 1:  # NaN is not NaN
        raise BadInput(
            f"{what}: scale and offset differ from band to band; bring them to one scale"
        )
    scale, shift = found[0]
    return None if (scale, shift) == (1.0, 0.0) else (scale, shift)


def unit(source, index: int) -> str | None:
    """The unit that an open raster states for a band, to GDAL or in a tag."""
    return source.units[index - 1] or (source.tags() | source.tags(index)).get("units")


def declared_factor(row: dict, units: Sequence[str | None], what: str) -> float | None:
    """What takes the numbers of a scene to reflectance x 10000, where something says so: the column
    `scale` of its row (reflectance = number x scale), or all bands' unit "reflectance"."""
    if row.get("scale") is not None:
        try:
            scale = float(row["scale"])
        except ValueError:
            scale = float("nan")
        if not 1e-6 <= scale <= 1:
            raise BadInput(
                f"{what}: scale {row['scale']!r} of scenes.csv; it is what a number is to be "
                "multiplied by to be reflectance, such as 0.0001 or 1"
            )
        return scale * 1e4
    stated = {str(unit or "").strip().lower() for unit in units}
    return 1e4 if stated in ({"reflectance"}, {"surface reflectance"}) else None


def offset_of(scale: float, shift: float, what: str) -> int:
    """The offset in DN, 0 or 1000, of reflectance = number x scale + shift (or, where scale is 1,
    of DN = number + shift); BadInput for every other scale, which is named."""
    numbers = (scale, shift) if scale == 1 else (scale * 1e4, shift * 1e4)
    if abs(numbers[0] - 1) < 1e-4 and min(abs(numbers[1]), abs(numbers[1] + OFFSET)) < 0.5:
        return OFFSET if numbers[1] < -0.5 else 0
    raise BadInput(
        f"{what}: its bands declare the scale {scale:.6g} and the offset {shift:.6g}; only 0.0001 "
        "with 0 or -0.1 (reflectance x 10000) is read. Rescale the file to that"
    )


def offset(
    item: dict,
    tags: dict,
    declared,
    layout: str,
    sample: np.ndarray | Callable,
    what: str = "file",
    in_file: Scale | Callable | None = None,
    names: Sequence[str] = (),
) -> tuple[int, str]:
    """The offset to subtract (0 or 1000) and where that is known from.

    item: STAC item or {}; tags: the file's GeoTIFF tags; declared: scenes.csv's
    processing_baseline or None; sample: [10, n] raw DN, nodata 0, or a function that gives it
    (called only where pixels must decide); in_file: what the file declares (`declared_scale`), or a
    function that opens it for that, called only where the item says nothing. names: of the scene,
    its file and folder.
    """
    gone = str(_property(item, "boa_offset_applied", (bool, str, int))).lower()
    gone = {"true": True, "1": True, "false": False, "0": False}.get(gone)
    known, source, doubt = None, "stac", False
    if in_file is not None and not callable(in_file):
        known, source = offset_of(*in_file, what), "tags (scale and offset)"
    if gone is True:
        return 0, GONE
    if known is None:
        known, doubt = _of_item(item, what)
    if known is None and callable(in_file) and (scale := in_file()) is not None:
        known, source = offset_of(*scale, what), "tags (scale and offset)"
    if known and (gone is False or doubt) and _darkest(sample) < TOO_DARK:
        return 0, "stac (offset already removed, as the pixels show)"
    if known is not None:
        return known, source
    if any("_HARMONIZED" in str(v) for v in tags.values()):
        return 0, "tags (harmonised collection)"
    if tags.get("ADD_OFFSET") is not None:
        return offset_of(1.0, float(tags["ADD_OFFSET"]), what), "tags"
    listed = {v for k, v in tags.items() if re.fullmatch(r"(BOA|RADIO)_ADD_OFFSET\w*", k.upper())}
    if listed:  # a product's list, which tools copy and keep when they take the offset out
        with reading(what, "its tags of offsets are no numbers"):
            late = max(offset_of(1.0, float(v), what) for v in listed)
        return (0 if late and _darkest(sample) < TOO_DARK else late), "tags"
    stated = next((v for k, v in tags.items() if k.upper() == "PROCESSING_BASELINE" and v), None)
    if stated is not None:
        return _of(stated, what), "tags"
    if declared is not None:
        return _of(declared, what), "scenes.csv"
    named = baseline_of_name(*names, *tags.values())
    if named is not None:
        late = _of(named, what)
        return (0 if late and _darkest(sample) < TOO_DARK else late), "name"
    if layout == "eurosat-ms":
        return 0, "layout"
    return _guess(sample, what), GUESSED


def _guess(sample, what: str) -> int:
    """The offset that the pixels show; BadInput where they fit both readings."""
    sample = sample() if callable(sample) else sample
    darkest = _darkest(sample)
    if not darkest > DARKEST:  # NaN too
        return 0
    valid = _seen(sample)
    blue, red = (np.median(valid[BANDS.index(b)]) - OFFSET for b in ("B02", "B04"))
    ratio = blue / red if red > BRIGHT_GROUND else 1.0
    if ratio < BLUE_OF_RED[0]:
        return 0
    if ratio < BLUE_OF_RED[1]:
        raise BadInput(
            f"{what}: its processing baseline is not known, and its pixels may be bare bright "
            f"ground or carry the offset of {OFFSET} DN; say which in the column "
            "processing_baseline of scenes.csv"
        )
    return OFFSET


def _darkest(sample) -> float:
    """The first percentile of the darkest band; NaN, which is neither above nor below anything,
    where no pixel has a value in every band."""
    sample = sample() if callable(sample) else sample
    valid = _seen(sample)
    there = valid[(sample > 0).any(axis=1)]
    return np.percentile(there, 1.0, axis=1).min() if there.size else float("nan")


def _seen(sample: np.ndarray) -> np.ndarray:
    """The pixels [10, n] with a value in every band but those that are empty all over."""
    there = sample > 0
    return sample[:, (there | ~there.any(axis=1, keepdims=True)).all(axis=0)]


def _property(item: dict, name: str, kinds: tuple):
    """The property of that name of a STAC item under any prefix (s2:, sentinel:, earthsearch:)."""
    found = [
        v
        for k, v in (item.get("properties") or {}).items()
        if str(k).rpartition(":")[2] == name and isinstance(v, kinds) and v != ""
    ]
    return found[0] if found else None


def _of_item(item: dict, what: str) -> tuple[int | None, bool]:
    """The offset by a STAC item's baseline and by what its bands declare, None where it says
    neither; and whether the two contradict each other."""
    properties = item.get("properties") or {}
    baseline = _property(item, "processing_baseline", (str, int, float))
    if baseline is None and re.fullmatch(r"\d\d\.\d\d", str(properties.get("processing:version"))):
        baseline = properties["processing:version"]
    found: dict[str, set[Scale]] = {}
    whole = {k: v for k, v in properties.items() if str(k).startswith("raster:")}
    with reading(what, "the assets of its STAC item cannot be understood"):
        if baseline is None:
            named = [properties.get(name) for name in PRODUCT_NAMES]
            hrefs = [asset.get("href") for asset in (item.get("assets") or {}).values()]
            baseline = baseline_of_name(*named, item.get("id"), *hrefs)
        for key, asset in (item.get("assets") or {}).items():
            names = [b.get("name") for b in asset.get("eo:bands") or asset.get("bands") or []]
            known = [n for n in map(canonical, (key, *names)) if n in BANDS]
            if known:  # AOT and water vapour have scales of their own
                found.setdefault(known[0], set()).update(asset_scales(whole | asset))
    stated = [scales for scales in found.values() if scales]
    if stated and not set.intersection(*stated):
        raise BadInput(
            f"{what}: scale and offset of its STAC item differ from band to band; correct the item"
        )
    said = {offset_of(*one, what) for one in set().union(*stated)}
    if baseline is not None:
        said.add(_of(baseline, what))
    return max(said, default=None), len(said) > 1


def asset_scales(asset: dict) -> set[Scale]:
    """What a STAC asset declares for its bands, under the names of STAC 1.0 (scale and offset in
    raster:bands) or 1.1 (raster:scale and raster:offset, in bands or of the asset itself)."""
    found = set()
    for band in [*(asset.get("raster:bands") or []), *(asset.get("bands") or [])] or [{}]:
        both = asset | band
        scale = both.get("raster:scale", both.get("scale"))
        shift = both.get("raster:offset", both.get("offset"))
        with contextlib.suppress(TypeError, ValueError):  # null, or text that is no number
            if float(scale) > 0:
                found.add((float(scale), float(shift or 0.0)))
    return found - {(1.0, 0.0)}


def _of(baseline, what: str) -> int:
    return OFFSET if baseline_number(baseline, what) >= OFFSET_FROM else 0

"""Names of bands that stand beside the descriptions in a file: in its STAC item, in its tags."""

import re
from pathlib import Path

from gairlib.bands import canonical
from gairlib.data.boundary import reading


def in_item(item: dict, filename: str) -> list[str | None]:
    """Band names of the asset that points at `filename` (eo:bands, or bands in STAC 1.1), or []."""
    with reading(filename, "the bands of its STAC item cannot be understood"):
        return [label(b) for b in _listed(item, filename, ("eo:bands", "bands"))]


def units_in_item(item: dict, filename: str) -> list[str | None]:
    """Likewise, the unit of each band (raster:bands, or bands in STAC 1.1), or []."""
    with reading(filename, "the bands of its STAC item cannot be understood"):
        return [b.get("unit") for b in _listed(item, filename, ("raster:bands", "bands"))]


def _listed(item: dict, filename: str, keys: tuple[str, ...]) -> list[dict]:
    """The first list of bands of the asset that points at `filename`."""
    assets = (item.get("assets") or {}).values()
    mine = (a for a in assets if Path(str(a.get("href", ""))).name == filename)
    return next((found for a in mine if (found := next(filter(None, map(a.get, keys)), []))), [])


def label(band: dict) -> str | None:
    """What a STAC item calls a band: the first of its name, common name, wavelength and description
    that can be understood, else the first that is there."""
    keys = ("name", "common_name", "center_wavelength", "description")
    said = [band.get(k) or band.get(f"eo:{k}") for k in keys]
    said[2] = f"{said[2]} um" if said[2] else None
    return next((s for s in said if canonical(s)), next(filter(None, said), None))


def in_tags(source) -> list[list[str | None]]:
    """Lists of band names that an open raster keeps outside of its descriptions, one name a band:
    in tags of its bands (a name, ENVI's wavelength, GDAL's CENTRAL_WAVELENGTH_UM), or as a list in
    one tag of the file, as Python or ENVI write lists."""
    own = [source.tags(i) | source.tags(i, ns="IMAGERY") for i in source.indexes]
    own = [{_plain(k): v for k, v in tags.items()} for tags in own]
    found = [[tags.get(key) for tags in own] for key in (*_NAMES, *_WAVES)]
    whole = {_plain(k): v for k, v in (source.tags() | source.tags(ns="ENVI")).items()}
    found += [re.findall(r"[^\s,;'\"{}\[\]()][^,;'\"{}\[\]()]*", whole.get(k, "")) for k in _LISTS]
    return [names for names in found if len(names) == source.count and any(names)]


_NAMES = ("longname", "bandname", "name", "commonname", "standardname", "description")
_WAVES = ("wavelength", "centerwavelength", "centralwavelength", "centralwavelengthum")
_LISTS = ("bandnames", "bands", "band", "longname", "descriptions", "wavelength")


def _plain(key: str) -> str:
    return re.sub(r"[^a-z]", "", key.lower().removeprefix("eo:"))

"""Scenes from STAC: an item, an ItemCollection file, a static catalogue, a STAC API.

    scenes, rejected = stac.from_file("items.json")
    scenes, rejected = stac.search_stac(url, collections=["sentinel-2-l2a"], bbox=(w, s, e, n),
                                        datetime="2023-05/2023-09", max_cloud=20)

Nothing here contacts anything unless it is called. `rejected` lists what cannot be used as dicts of
kind, item and reason; one bad item is one row of it.

Items are read with pystac and odc-stac (`odc.stac.parse_item`: which assets are rasters, their
absolute addresses, grids and nodata; items of all STAC versions), so a scene whose item carries the
projection extension is known without opening a file; otherwise a header is read. Pixels are read by
`gairlib.data.scene_reader` on the scene's own grid, not by `odc.stac.load`, which plans each chip
and opens each band's file anew, while a reader holds the open files and their decoded tiles. On the
same windows of the same local COGs both give the same values (a test), and the time of both is
measured in `research.speed.scene_reading`.

Band names: an asset's key (blue ... swir22 of Earth Search, B02 ... of the Planetary Computer,
B02_10m of Copernicus), else the name of its only band (eo:bands, or bands in STAC 1.1), else one
asset that names all ten. Pictures ("visual", thumbnails) are no bands.

Footprint: the item's geometry, cut to the grid. Catalogues draw it with straight lines between few
corners in lon/lat, though a tile's edges are straight in its own CRS (at 60 degrees north the
difference is some 300 m), so the corners are joined in the scene's CRS, and 20 pixels are added.
"""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import shapely
from shapely.geometry import Polygon, box, shape

from gairlib import bands
from gairlib.data import scene_assets
from gairlib.data.http import Patience
from gairlib.data.scene import Scene, is_remote, name_of, outline, transformer
from gairlib.data.scene_assets import Found, Grid, band_of
from gairlib.errors import BadInput, Missing, extra

with extra("stac"):
    import pystac

MARGIN = 20  # pixels added around an item's geometry
NOT_DATA = {"visual", "thumbnail", "overview", "metadata"}  # roles of assets that are no bands


def from_item(
    item: dict | pystac.Item,
    base: str | Path | None = None,
    *,
    row: dict | None = None,
    inside: str | Path | None = None,
    remote: bool = True,
) -> Scene:
    """The Scene that a STAC item describes.

    base: folder or file against which relative hrefs count (default: the item's own link to
    itself). row: as in open_scene, for what the item does not say. inside: a folder that local
    assets must not lie outside of. remote: False refuses assets on a server. BadInput or Missing
    says why it cannot be used: no geometry, a missing band, a grid that does not fit, a local file
    that is gone. Whether a remote asset is there shows when it is read.
    """
    if not isinstance(item, pystac.Item):
        name = item.get("id") if isinstance(item, dict) else None
        try:
            item = pystac.Item.from_dict(item, preserve_dict=True)
        except Exception as problem:  # whatever is wrong with it, it is one bad item
            raise BadInput(f"STAC item {name!r}: not a valid item ({problem})") from problem
    what = f"scene {item.id} (STAC item)"
    if item.geometry is None:
        raise BadInput(f"{what}: has no geometry")
    if base is not None:
        item.set_self_href(_join(base, f"{item.id}.json"))
    found = _bands(item, what)
    local = [f.href for f in found.values() if not is_remote(f.href)]
    far = [f.href for f in found.values() if is_remote(f.href)]
    if far and not remote:
        raise BadInput(
            f"{what}: its asset {name_of(far[0])} is remote; allow remote scenes to "
            "read it from its server"
        )
    if inside is not None:
        home = os.path.abspath(inside) + os.sep
        outside = [h for h in local if not os.path.abspath(h).startswith(home)]
        if outside:
            raise BadInput(
                f"{what}: its asset {Path(outside[0]).name} leaves the folder {Path(inside).name}/"
            )
    gone = [href for href in local if not Path(href).is_file()]
    if gone:
        raise Missing(f"{what}: its asset {gone[0]} is gone ({len(gone)} of {len(found)} are)")
    about = {
        "properties": item.properties,
        "assets": {k: a.to_dict() for k, a in item.assets.items()},
    }
    home = item.get_self_href()
    path = Path(home if home and not is_remote(home) else f"{item.id}.json")
    return scene_assets.build(
        item.id,
        path,
        found,
        item=about,
        tags={},
        row=row or {},
        what=what,
        footprint=lambda grid: footprint(item.geometry, grid, what),
    )


def _bands(item: pystac.Item, what: str) -> dict[str, Found]:
    """Band name -> where it is; the finest and best named asset of each."""
    with extra("stac"):
        import odc.stac  # seconds to import, and only needed here

    data = {k: a for k, a in item.assets.items() if not NOT_DATA & set(a.roles or [])}
    try:
        parsed = odc.stac.parse_item(item).bands
    except Exception as problem:  # odd projection data, unknown types: it is one bad item
        reason = f"its geometry or its assets cannot be understood ({_short(problem)})"
        raise BadInput(f"{what}: {reason}") from problem
    best: dict[str, tuple] = {}
    for order, ((key, index), source) in enumerate(parsed.items()):
        if key not in data:
            continue
        fields = data[key].extra_fields
        names = [
            b.get("name") or b.get("common_name") or b.get("eo:common_name")
            for b in fields.get("bands") or fields.get("eo:bands") or [{}]
        ]
        known = [bands.canonical(n) for n in names]
        band, metres = band_of(key)
        rank = 0
        if len(known) > 1:  # several bands in one file: only if it is the whole product
            if not set(bands.BANDS) <= set(known) or index > len(known):
                continue
            band, rank = known[index - 1], 2
        elif band is None:
            band, rank = known[0], 1
        if band not in bands.BANDS and band != "SCL":
            continue
        geobox = source.geobox
        metres = metres or (abs(geobox.affine.a) if geobox is not None else fields.get("gsd"))
        nodata, dtype = source.meta.nodata, source.meta.data_type
        listed = [fields, *(fields.get("bands") or []), *(fields.get("raster:bands") or [])]
        if not any("data_type" in one for one in listed):
            dtype = None  # odc-stac takes float32 where an item is silent
        one = Found(
            source.uri,
            index,
            None if geobox is None else _grid(geobox),
            None if nodata is None else float(nodata),
            dtype,
        )
        entry = ((rank, metres or float("inf"), order), one)
        best[band] = min(best.get(band, entry), entry, key=lambda e: e[0])
    return {band: one for band, (_, one) in best.items()}


def _grid(geobox) -> Grid:
    crs = f"EPSG:{geobox.crs.epsg}" if geobox.crs.epsg else geobox.crs.to_wkt()
    return Grid(crs, geobox.affine, geobox.shape[1], geobox.shape[0])


def footprint(geometry: dict, grid: Grid, what: str = "item") -> Polygon:
    """A GeoJSON geometry as the part of the grid that it covers, lon/lat like outline.

    The geometry may cross the antimeridian, cut there (RFC 7946) or not. Without holes; several
    parts become their convex hull. BadInput where it misses the grid.
    """
    whole = outline(grid.transform, grid.crs, grid.width, grid.height, what)
    try:
        drawn = shape(geometry)
        middle = whole.centroid.x
        to_crs = transformer("EPSG:4326", grid.crs)

        def project(points):  # [n, 2] lon/lat -> columns and rows
            lon = middle + (points[:, 0] - middle + 180.0) % 360.0 - 180.0
            t = ~grid.transform
            x, y = to_crs.transform(lon, points[:, 1])
            return np.column_stack([t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f])

        drawn = shapely.make_valid(shapely.transform(shapely.force_2d(drawn), project))
        drawn = drawn.buffer(MARGIN, join_style="mitre")
        rectangle = box(0, 0, grid.width, grid.height)
        covered = drawn.intersection(rectangle)
    except Exception as problem:  # shapely, GEOS and pyproj each have errors of their own
        raise BadInput(f"{what}: its geometry cannot be used ({problem})") from problem
    if covered.area <= 0:
        raise BadInput(f"{what}: its geometry does not touch the grid of its assets")
    if covered.area >= rectangle.area * (1 - 1e-9):
        return whole
    covered = Polygon((covered.convex_hull if covered.geom_type != "Polygon" else covered).exterior)
    covered = shapely.segmentize(covered, max(grid.width, grid.height) / 16)

    def back(points):
        t = grid.transform
        x = t.a * points[:, 0] + t.b * points[:, 1] + t.c
        y = t.d * points[:, 0] + t.e * points[:, 1] + t.f
        lon, lat = transformer(grid.crs, "EPSG:4326").transform(x, y)
        return np.column_stack([middle + (lon - middle + 180.0) % 360.0 - 180.0, lat])

    return shapely.transform(covered, back)


def from_items(
    items: Iterable[dict | pystac.Item], base: str | Path | None = None, **options
) -> tuple[list[Scene], list[dict]]:
    """(scenes in the order of the items, rejected); base and options as in from_item."""
    found, rejected, seen = [], [], set()
    for number, item in enumerate(items):
        id = (
            item.id
            if isinstance(item, pystac.Item)
            else (item.get("id") if isinstance(item, dict) else None)
        )
        if id in seen:
            rejected.append(_row(id, "item id stands more than once; the first one kept"))
            continue
        try:
            found.append(from_item(item, base, **options))
            seen.add(id)
        except (BadInput, Missing) as problem:
            rejected.append(_row(f"item {number + 1}" if id is None else id, problem))
    return found, rejected


def from_file(path: str | Path, **options) -> tuple[list[Scene], list[dict]]:
    """The scenes of an ItemCollection, a single item or a static catalogue on disk.

    Relative hrefs count from the file (in a catalogue: from each item's own file). Catalogues and
    collections are followed down their child and item links. options: inside, remote, as in
    from_item. BadInput or Missing if the file itself cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise Missing(f"{path}: there is no such file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        kind = content.get("type")
    except (ValueError, AttributeError) as problem:
        raise BadInput(f"{path}: not readable as STAC JSON ({problem})") from problem
    if kind == "FeatureCollection":
        return from_items(content.get("features") or [], path, **options)
    if kind == "Feature":
        return from_items([content], path, **options)
    if kind not in ("Catalog", "Collection"):
        raise BadInput(
            f"{path}: type is {kind!r}; FeatureCollection, Feature, Catalog or Collection is right"
        )
    rejected: list[dict] = []
    try:
        catalogue = pystac.read_file(str(path))
    except Exception as problem:  # pystac's own errors and those of JSON schemas
        raise BadInput(f"{path}: not a valid STAC {kind} ({problem})") from problem
    found, bad = from_items(_walk(catalogue, rejected, set()), **options)
    return found, rejected + bad


def _walk(catalogue: pystac.Catalog, rejected: list[dict], seen: set) -> Iterator[pystac.Item]:
    """The items below a catalogue; links that lead nowhere become rows of `rejected`."""
    for link in catalogue.get_links():
        if link.rel not in ("item", "child"):
            continue
        href = link.get_absolute_href()
        if href in seen:
            continue
        seen.add(href)
        try:
            target = link.resolve_stac_object(root=catalogue.get_root()).target
        except Exception as problem:  # gone, cut short, not STAC: one row
            reason = f"link of {catalogue.id} leads nowhere ({_short(problem)})"
            rejected.append(_row(link.get_href(), reason))
            continue
        if isinstance(target, pystac.Item):
            yield target
        elif isinstance(target, pystac.Catalog):
            yield from _walk(target, rejected, seen)


def search_stac(
    url: str,
    *,
    collections: list[str] | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    datetime: str | None = None,
    max_cloud: float | None = None,
    limit: int | None = None,
    page_size: int = 100,
    retries: int = 5,
    timeout: float = 30.0,
    pause: float = 0.5,
    **client,
) -> tuple[list[Scene], list[dict]]:
    """The scenes that a STAC API finds.

    bbox: (west, south, east, north) in degrees. datetime: a time or interval, "2023-05/2023-09".
    max_cloud: percent; items of unknown cloud cover are kept. limit: items to look at, at most.
    Answers of 429 and 5xx, refused connections and timeouts are tried again `retries` times, after
    `pause`, 2 `pause`, 4 `pause` ... seconds or what Retry-After asks for. client: further options
    of pystac_client.Client.open (headers, parameters, modifier: such as the function that signs the
    Planetary Computer's addresses).

    BadInput where the API cannot be reached at all; where a later page fails for good, the items
    before it are kept and the failure is a row of `rejected`.
    """
    with extra("stac"):
        from pystac_client import Client
        from pystac_client.stac_api_io import StacApiIO

    query = {"eo:cloud_cover": {"lte": max_cloud}} if max_cloud is not None else None
    items, rejected = [], []
    try:
        catalogue = Client.open(
            url,
            stac_io=StacApiIO(max_retries=Patience.of(retries, pause), timeout=timeout),
            **client,
        )
        asked = catalogue.search(
            collections=collections,
            bbox=bbox,
            datetime=datetime,
            max_items=limit,
            limit=min(page_size, limit or page_size),
            query=query if query and catalogue.conforms_to("QUERY") else None,
        )
        pages = asked.pages_as_dicts()
    except Exception as problem:  # of requests, urllib3, pystac-client, or of JSON
        raise BadInput(_unreachable(url, problem)) from problem
    number = 0
    while True:
        try:
            page = next(pages, None)
        except Exception as problem:
            if number == 0:
                raise BadInput(_unreachable(url, problem)) from problem
            rejected.append(
                _row(
                    url,
                    f"page {number + 1} of the search could not be read "
                    f"({_short(problem)}); the {len(items)} items before it "
                    "are used",
                )
            )
            break
        if page is None:
            break
        number += 1
        items += page.get("features") or []
    if max_cloud is not None:
        items = [i for i in items if not _cloud(i) > max_cloud]  # unknown, NaN, is not above
    found, bad = from_items(items)
    return found, rejected + bad


def _unreachable(url: str, problem: Exception) -> str:
    return (
        f"{url}: the STAC API cannot be searched ({_short(problem)}); check the address and "
        "the network, or save the items to a file and read it with stac.from_file"
    )


def _short(problem: Exception) -> str:
    text = " ".join(str(problem).split())
    return f"{type(problem).__name__}: {text[:200]}"


def _cloud(item: dict) -> float:
    value = (item.get("properties") or {}).get("eo:cloud_cover")
    return float(value) if isinstance(value, int | float) else float("nan")


def _join(base: str | Path, name: str) -> str:
    """`name` beside the file, or in the folder, or under the URL `base`."""
    text = str(base)
    if is_remote(text):
        return f"{text if text.endswith('/') else text.rsplit('/', 1)[0] + '/'}{name}"
    path = Path(base).absolute()
    return str((path if path.is_dir() else path.parent) / name)


def _row(item, reason) -> dict:
    return {"kind": "scene", "item": str(item), "reason": str(reason)}

"""One STAC item as a Scene: which of its assets are the bands, where they lie, what they cover.

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

import os
from collections.abc import Collection
from pathlib import Path

import numpy as np
import shapely
from shapely.geometry import Polygon, box, shape

from gairlib import bands
from gairlib.data import band_names, http, scene_assets
from gairlib.data.band_file import Grid
from gairlib.data.boundary import listing
from gairlib.data.scene import Scene, is_remote, name_of, outline, transformer
from gairlib.data.scene_assets import Found, band_of
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
    shared: Collection[str] = (),
    server: str | None = None,
) -> Scene:
    """The Scene that a STAC item describes.

    base: folder or file against which relative hrefs count (default: the item's own link to
    itself); a remote asset whose copy lies there, or in a folder of the item's id there (or in
    scenes/), is read from it. row: as in open_scene, for what the item does not say. inside: a
    folder that local assets must not lie outside of. remote: False refuses assets on a server.
    shared: file names that other items have as well; copies of these count only in a folder of the
    item's id. server: the address that the item comes from, if it does; its assets then lie in a
    private network only where the server does. BadInput or Missing says why it cannot be used: no
    geometry, a missing band, a grid that does not fit, a local file that is gone, damaged, or of
    another grid than the item says. Whether a remote asset is there shows when it is read.
    """
    if not isinstance(item, pystac.Item):
        name = item.get("id") if isinstance(item, dict) else None
        try:
            item = pystac.Item.from_dict(item, preserve_dict=True)
        except Exception as problem:  # whatever is wrong with it, it is one bad item
            raise BadInput(f"STAC item {name!r}: not a valid item ({problem})") from problem
    if not (isinstance(item.id, str) and item.id):
        raise BadInput(f"STAC item {item.id!r}: its id is text, which this one lacks")
    what = f"scene {item.id} (STAC item)"
    if item.geometry is None:
        raise BadInput(f"{what}: has no geometry")
    if base is not None:
        item.set_self_href(_join(base, f"{item.id}.json"))
    found = _bands(item, what, shared)
    local = [f.href for f in found.values() if not is_remote(f.href)]
    far = [f.href for f in found.values() if is_remote(f.href)]
    if base is None and is_remote(home := item.get_self_href() or ""):
        server = server or home
    if server is not None:
        refuse_private(far, server)
    if far and not remote:
        raise BadInput(
            f"{what}: its asset {name_of(far[0])} is remote, and there is no copy of it in a "
            f"folder {item.id}/; put its files there, or allow remote scenes to read it from its "
            "server"
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


def refuse_private(hrefs: Collection[str], server: str) -> None:
    """BadInput where a server names an address of a private network and is in none itself."""
    odd = [] if http.private(server) else [href for href in hrefs if http.private(href)]
    if odd:
        raise BadInput(f"{name_of(odd[0])}: {http.PRIVATE}")


def _bands(item: pystac.Item, what: str, shared: Collection[str]) -> dict[str, Found]:
    """Band name -> where it is; the finest and best named asset of each. shared: as above."""
    with extra("stac"):
        import odc.stac  # seconds to import, and only needed here

    data = {k: a for k, a in item.assets.items() if not NOT_DATA & set(a.roles or [])}
    try:
        parsed = odc.stac.parse_item(item).bands
    except Exception as problem:  # odd projection data, unknown types: it is one bad item
        reason = f"its geometry or its assets cannot be understood ({short(problem)})"
        raise BadInput(f"{what}: {reason}") from problem
    best: dict[str, tuple] = {}
    copies = _Copies(item, shared)
    listed_in = {
        key: asset.extra_fields.get("bands") or asset.extra_fields.get("eo:bands") or [{}]
        for key, asset in data.items()
    }
    sources = [
        (key, place, source)
        for (key, index), source in parsed.items()
        if key in data
        # odc-stac counts what raster:bands lists; some items name their bands in eo:bands alone
        for place in ([index] if (key, 2) in parsed else range(1, len(listed_in[key]) + 1))
    ]
    for order, (key, index, source) in enumerate(sources):
        fields, listed = data[key].extra_fields, listed_in[key]
        known = [bands.canonical(band_names.label(b)) for b in listed]
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
        beside = copies(source.uri, key)
        one = Found(
            beside or source.uri,
            index,
            None if geobox is None or beside else _grid(geobox),  # a copy may be a part
            None if nodata is None else float(nodata),
            dtype,
        )
        entry = ((rank, metres or float("inf"), order), one)
        other = best.get(band, entry)
        if rank == 2 and other[0][:2] == entry[0][:2] and other[1].href != one.href:
            raise BadInput(
                f"{what}: {name_of(other[1].href)} and {name_of(one.href)} both hold the ten "
                "bands; an item is one date"
            )
        best[band] = min(other, entry, key=lambda e: e[0])
    return {band: one for band, (_, one) in best.items()}


def copy_names(href: str, key: str) -> list[str]:
    """What a copy of an asset may be called: as its file, its key or its band."""
    name = name_of(str(href).replace("\\", "/"))
    suffix, band = Path(name).suffix, band_of(key)[0]
    return [name, f"{key}{suffix}", *([f"{band}{suffix}"] if band else [])]


class _Copies:
    """The local copies of an item's assets: in a folder of its id beside the item or in scenes/
    there, else beside the item itself unless other items have the same name."""

    def __init__(self, item: pystac.Item, shared: Collection[str]):
        home = item.get_self_href()
        self.home = None if not home or is_remote(home) else Path(home).parent
        self.shared, self.id, self.collection = shared, item.id, item.collection_id
        self.own: dict[str, Path] | None = None

    def __call__(self, href: str, key: str) -> str | None:
        """The copy of an asset that is on a server, or not where its item says."""
        if self.home is None or not is_remote(href) and Path(href).is_file():
            return None
        if self.own is None:
            self.own = {}
            for place in dict.fromkeys(("", "scenes", self.collection or "")):
                for folder in (self.id, f"{self.id}.SAFE"):
                    for path in listing(self.home / place / folder, deep=True).files:
                        self.own.setdefault(path.name, path)
        names = copy_names(href, key)
        flat = (self.home / name for name in names if name not in self.shared)
        found = (self.own[name] for name in names if name in self.own)
        return next((str(p) for p in (*found, *flat) if p.is_file()), None)


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


def _join(base: str | Path, name: str) -> str:
    """`name` beside the file, or in the folder, or under the URL `base`."""
    text = str(base)
    if is_remote(text):
        return f"{text if text.endswith('/') else text.rsplit('/', 1)[0] + '/'}{name}"
    path = Path(base).absolute()
    return str((path if path.is_dir() else path.parent) / name)


def short(problem: Exception) -> str:
    text = " ".join(str(problem).split())
    return f"{type(problem).__name__}: {text[:200]}"

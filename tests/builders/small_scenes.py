"""Small generated scenes of one file a band, and STAC items for them, as catalogues write them."""

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from pyproj import Transformer

from gairlib.bands import BANDS

UTM = "EPSG:32632"
ORIGIN = (399_960.0, 5_300_040.0)
TWENTY = ("B05", "B06", "B07", "B8A", "B11", "B12", "SCL")
EARTH_SEARCH = {
    "B02": "blue",
    "B03": "green",
    "B04": "red",
    "B05": "rededge1",
    "B06": "rededge2",
    "B07": "rededge3",
    "B08": "nir",
    "B8A": "nir08",
    "B11": "swir16",
    "B12": "swir22",
    "SCL": "scl",
}
EXTENSIONS = [
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("projection/v1.1.0", "eo/v1.1.0", "raster/v1.1.0")
]


def write_band(
    path: Path,
    values: np.ndarray,
    metres: float,
    *,
    origin=ORIGIN,
    crs=UTM,
    nodata=0,
    block=None,
    driver="GTiff",
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tiled = {"tiled": True, "blockxsize": block, "blockysize": block} if block else {}
    lossless = {"QUALITY": "100", "REVERSIBLE": "YES"} if driver == "JP2OpenJPEG" else {}
    with rasterio.open(
        path,
        "w",
        driver=driver,
        count=1,
        height=values.shape[0],
        width=values.shape[1],
        dtype=values.dtype,
        crs=crs,
        nodata=nodata,
        **tiled,
        **lossless,
        transform=Affine(metres, 0, origin[0], 0, -metres, origin[1]),
    ) as target:
        target.write(values, 1)
    return path


def write_bands(
    folder: Path, size: int = 96, *, name="{band}.tif", low=1200, seed=0, scl=True, **options
) -> dict[str, np.ndarray]:
    """Ten bands and SCL of size x size px at 10 m, each at its own resolution; returns them as
    written. name: of each file, with {band} and {metres}."""
    rng, values = np.random.default_rng(seed), {}
    for band in (*BANDS, "SCL") if scl else BANDS:
        metres = 20 if band in TWENTY else 10
        n = size * 10 // metres
        if band == "SCL":
            values[band] = rng.integers(0, 12, (n, n)).astype(np.uint8)
        else:
            values[band] = rng.integers(low, low + 5000, (n, n)).astype(np.uint16)
        file = folder / name.format(band=band, metres=metres)
        write_band(file, values[band], metres, **options)
    return values


def on_10_m(values: dict[str, np.ndarray]) -> np.ndarray:
    """[10, h, w]: 20 m pixels repeated, by np.kron."""
    fine = values["B02"].shape[0]
    return np.stack(
        [np.kron(values[b], np.ones((fine // len(values[b]),) * 2, values[b].dtype)) for b in BANDS]
    )


def geometry(size: int, origin=ORIGIN, crs=UTM) -> dict:
    """The four corners of size x size px at 10 m, as a catalogue draws them."""
    to = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    x, y, side = *origin, 10.0 * size
    ring = [to.transform(*p) for p in ((x, y), (x, y - side), (x + side, y - side), (x + side, y))]
    return {"type": "Polygon", "coordinates": [[list(p) for p in (*ring, ring[0])]]}


def item(
    id: str,
    folder: str,
    size: int = 96,
    *,
    style="earth-search",
    projection=True,
    crs=UTM,
    origin=ORIGIN,
    **properties,
) -> dict:
    """A STAC item for write_bands: hrefs <folder>/<band>.tif; style: earth-search or planetary."""
    assets = {}
    for band in (*BANDS, "SCL"):
        metres = 20 if band in TWENTY else 10
        key = EARTH_SEARCH[band] if style == "earth-search" else band
        asset = {
            "href": f"{folder}/{band}.tif",
            "roles": ["data"],
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        }
        if band != "SCL":
            asset["eo:bands"] = [{"name": key}]
        if projection:
            n = size * 10 // metres
            asset |= {
                "proj:shape": [n, n],
                "proj:transform": [metres, 0, origin[0], 0, -metres, origin[1]],
            }
        assets[key] = asset
    assets["visual"] = {
        "href": f"{folder}/TCI.tif",
        "type": "image/tiff",
        "roles": ["visual"],
        "eo:bands": [{"name": n} for n in ("red", "green", "blue")],
    }
    assets["thumbnail"] = {"href": f"{folder}/t.jpg", "type": "image/jpeg", "roles": ["thumbnail"]}
    known = {
        "datetime": "2023-05-01T10:00:00Z",
        "eo:cloud_cover": 12.5,
        "s2:processing_baseline": "05.09",
    }
    if projection:
        known["proj:epsg"] = int(crs.removeprefix("EPSG:"))
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": id,
        "links": [],
        "stac_extensions": EXTENSIONS,
        "geometry": geometry(size, origin, crs),
        "bbox": [0, 0, 1, 1],
        "properties": known | properties,
        "assets": assets,
    }

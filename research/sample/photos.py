"""Where the photos of a site stand, where they look, and when they were taken.

Most stand on a road and look along it, in short series down one street (as mapping cars and
pedestrians leave them); some stand in parks, on tracks and squares, looking anywhere.

Sites that are trained on have MORE further photos, drawn from numbers of their own, so that the
first PER_SITE of a site are the same whatever its split.
"""

import itertools
import math
from datetime import datetime, timedelta

import numpy as np

from research.sample.climate import CLIMATES, may_snow
from research.sample.layout import EXTENT, MARGIN, World
from research.sample.rays import Camera
from research.sample.sentinel import scene_time
from research.sample.sky import at_solar_hour, sun_position

PER_SITE = 48
MORE = {"train": 96}  # further photos of a site, by split
APART_M = 11  # metres between two photos of a site, at least


def _along(world: World, x: float, y: float) -> float:
    """Direction (rad, x towards y) of the road at a point: across the gradient of its distance."""
    gx = world.smooth(world.road, x + 2.5, y) - world.smooth(world.road, x - 2.5, y)
    gy = world.smooth(world.road, x, y + 2.5) - world.smooth(world.road, x, y - 2.5)
    return math.atan2(float(gx), -float(gy))


def _free(world: World, x: float, y: float) -> bool:
    inner = MARGIN + 15 <= min(x, y) and max(x, y) <= EXTENT - MARGIN - 15
    wet = world.at(world.water, np.float64(x), np.float64(y)) < 1
    if not inner or (wet and world.at(world.road, np.float64(x), np.float64(y)) > -0.5):
        return False  # a bridge will do
    return all(
        world.at(world.building, np.float64(x + dx), np.float64(y + dy)) < 0
        for dx in (-2.5, 0, 2.5)
        for dy in (-2.5, 0, 2.5)
    )


def positions(
    world: World, rng: np.random.Generator, count: int, others: list[tuple[float, float]]
) -> list[tuple[float, float, float]]:
    """`count` places (x, y, heading in degrees), rounded to millimetres, away from `others`."""
    out: list[tuple[float, float, float]] = []
    low, high = MARGIN + 20, EXTENT - MARGIN - 20

    def taken(x: float, y: float) -> bool:
        places = itertools.chain(others, (p[:2] for p in out))
        return any(math.hypot(x - a, y - b) < APART_M for a, b in places)

    for _ in range(20000):
        if len(out) >= count:
            break
        x, y = rng.uniform(low, high, 2)
        edge = float(world.smooth(world.road, np.float64(x), np.float64(y)))
        wide = float(world.at(world.main, np.float64(x), np.float64(y))) < 0
        if edge <= -0.5 and wide and rng.random() < 0.6:
            continue  # more photos on the streets within a quarter than on the roads between
        if edge > -0.5:
            # Off the road: a few, where one may walk, more of them along the water.
            shore = 1.5 < float(world.smooth(world.water, np.float64(x), np.float64(y))) < 16
            if (
                edge > 3
                and rng.random() < (0.16 if shore else 0.014)
                and _free(world, x, y)
                and not taken(x, y)
            ):
                out.append((round(x, 3), round(y, 3), round(rng.uniform(0, 360), 2)))
            continue
        for _ in range(int(rng.integers(2, 7))):
            if len(out) >= count:
                break
            if (
                not _free(world, x, y)
                or float(world.smooth(world.road, np.float64(x), np.float64(y))) > -0.5
            ):
                break
            way = _along(world, x, y)
            if not taken(x, y):
                heading = math.degrees(math.atan2(math.cos(way), -math.sin(way)))
                heading += 180 * rng.integers(0, 2) + rng.normal(0, 18)
                if rng.random() < 0.14:
                    heading = rng.uniform(0, 360)
                out.append((round(x, 3), round(y, 3), round(heading % 360, 2)))
            step = rng.uniform(25, 75)
            x, y = x + step * math.cos(way), y + step * math.sin(way)
    return out


def shots(world: World) -> list[tuple[Camera, datetime, str]]:
    """The site's photos: camera, UTC time, weather."""
    first = _shots(world, world.site.rng(world.seed, 4), PER_SITE, [])
    further = MORE.get(world.site.split, 0)
    return first + _shots(
        world,
        world.site.rng(world.seed, 5),
        further,
        [(camera.x, camera.y) for camera, _, _ in first],
    )


def _shots(
    world: World, rng: np.random.Generator, count: int, others: list[tuple[float, float]]
) -> list[tuple[Camera, datetime, str]]:
    site, out = world.site, []
    climate, scene = CLIMATES[site.climate], scene_time(world)
    for x, y, heading in positions(world, rng, count, others):
        spread = 35 if rng.random() < 0.7 else 182
        day = scene + timedelta(
            days=int(rng.integers(-spread, spread + 1)), weeks=52 * int(rng.integers(-1, 2))
        )
        light = rng.choice(["day", "dusk", "night"], p=[0.84, 0.09, 0.07])
        when = at_solar_hour(site.lon, day, rng.uniform(9, 15))
        for _ in range(60):
            hour = rng.uniform(7.5, 17) if light == "day" else rng.uniform(0, 24)
            when = at_solar_hour(site.lon, day, hour)
            up = math.degrees(sun_position(site.lon, site.lat, when)[0])
            if {"day": up > 7, "dusk": -6 < up < 4, "night": up < -9}[light]:
                break
        p = np.array([0.55, 0.27, climate.rain, climate.fog, 0.0])
        if may_snow(site, when.month):
            p[2], p[4] = 0.03, 0.2
        weather = str(rng.choice(["clear", "cloudy", "rain", "fog", "snow"], p=p / p.sum()))
        camera = Camera(
            x,
            y,
            round(rng.uniform(1.6, 2.5), 2),
            heading,
            round(rng.uniform(90, 100), 1),
            round(rng.uniform(0.08, 0.42), 3),
        )
        out.append((camera, when, weather))
    return out

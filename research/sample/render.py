"""A photo of a site: what the rays of a camera see, in its light and weather, with its labels.

Albedos come from the same materials as the scene's reflectances; walls, windows, leaves and ground
get their own texture. Sun and shadows, sky light, street lamps, haze, rain and snow are added in
linear light, twice the size of the photo, which is then averaged, exposed and given noise. Labels
are counted on the same pixels, before the weather.
"""

import math
from dataclasses import dataclass

import numpy as np

from research.sample import spectra
from research.sample.layout import World
from research.sample.noise import hash01, value_noise
from research.sample.rays import (
    BOX,
    CAR,
    CROWN,
    FINE,
    GROUND,
    RASTER,
    SIZE,
    SKY,
    TRUNK,
    Camera,
    Hits,
    cast,
)
from research.sample.sky import Air, sky_colour

_CAR_COLOURS = np.array(
    [
        [0.6, 0.6, 0.6],
        [0.05, 0.05, 0.06],
        [0.45, 0.05, 0.04],
        [0.06, 0.12, 0.35],
        [0.75, 0.75, 0.73],
        [0.3, 0.3, 0.3],
        [0.5, 0.4, 0.1],
    ]
)
_STYLES = [spectra.STYLES[s] for s in spectra.STYLE_NAMES]
_WALLS = np.array([s.walls for s in _STYLES])
_WINDOWS = np.array([(s.bay, *s.window, s.glass) for s in _STYLES])


@dataclass
class View:
    """image: uint8 [96, 96, 3]; shares of the picture, and the mean height (m) of the buildings in
    view, weighted by the pixels they fill (0 without any)."""

    image: np.ndarray
    green_view: float
    building_view: float
    sky_view: float
    road_view: float
    water_view: float
    building_height: float


@dataclass
class _Canvas:
    """Linear light in the making, [FINE, FINE, ...]: albedo, cosine to the sun, own glow, and
    masks of plants and water for the labels."""

    albedo: np.ndarray
    facing: np.ndarray
    glow: np.ndarray
    plant: np.ndarray
    water: np.ndarray
    road: np.ndarray


def render(world: World, cam: Camera, air: Air, seed: int) -> View:
    """The photo and its labels. `seed` drives cars, lit windows and sensor noise."""
    rng = np.random.default_rng([seed, 11])
    hits = cast(world, cam, rng)
    shape = (FINE, FINE)
    canvas = _Canvas(
        np.zeros((*shape, 3)),
        np.ones(shape),
        np.zeros((*shape, 3)),
        *(np.zeros(shape, bool) for _ in range(3)),
    )
    _ground(world, air, rng, hits, canvas)
    _buildings(world, air, seed, hits, canvas)
    _trees(world, cam, air, hits, canvas)
    houses = _far_and_fields(world, air, hits, canvas)
    _cars(hits, canvas)
    colour = _light(world, cam, air, hits, canvas)
    small = _weather(colour, air, rng).reshape(SIZE, 2, SIZE, 2, 3).mean(axis=(1, 3))
    box = hits.kind == BOX
    tall = world.buildings["height"][hits.which[box]].mean() if box.any() else 0.0
    return View(
        _develop(small, air, rng),
        canvas.plant.mean(),
        (box | houses).mean(),
        (hits.kind == SKY).mean(),
        canvas.road.mean(),
        canvas.water.mean(),
        float(tall),
    )


def _ground(world: World, air: Air, rng, hits: Hits, canvas: _Canvas) -> None:
    """Ground, road and water, edges drawn from the smooth distances and roughened a little."""
    mask = hits.kind == GROUND
    x, y, depth = hits.x[mask], hits.y[mask], hits.depth[mask]
    rough = rng.uniform(-0.5, 0.5, (2, x.size)) * np.minimum(1.2, 0.15 + depth / 40)
    material, edge = ground_material(world, x + rough[0], y + rough[1])
    plant = spectra.VEGETATION[material]
    grain = (value_noise(x, y, 0.25, 3) - 0.5) * 0.5 * np.minimum(1.0, 12.0 / depth)
    grain = (grain + (value_noise(x, y, 2.2, 4) - 0.5) * 0.3) * np.where(plant, 1.3, 0.6)
    colour = spectra.colours(air.table)[material] * (1 + grain)[:, None]
    sharp = world.smooth(world.road, x, y)
    line = (material == spectra.INDEX["asphalt"]) & (np.abs(sharp + 0.4) < 0.1)
    canvas.albedo[mask] = np.where(line[:, None], 0.45, colour)
    canvas.facing[mask] = max(air.sun_vector[2], 0)
    canvas.plant[mask] = plant
    canvas.road[mask] = edge < 0
    canvas.water[mask] = spectra.CLASS_OF[material] == spectra.WATER


def ground_material(world: World, x, y) -> tuple[np.ndarray, np.ndarray]:
    """Material of the ground at x, y (m) and distance to the road's edge (m, negative on it)."""
    edge = world.smooth(world.road, x, y)
    quarter = world.at(world.quarter, x, y)
    q = world.quarters
    main = world.at(world.main, x, y) <= world.at(world.road, x, y) + 1e-3
    street = np.where(
        main & (q.main[quarter] >= 3), spectra.INDEX["asphalt"], q.street_material[quarter]
    )
    street = world.site.look.ground_of()[street]
    material = np.where(edge < 0, street, world.at(world.ground, x, y))
    wet = (world.smooth(world.water, x, y) < 0) & (edge >= 0)
    return np.where(wet, world.water_material, material).astype(np.uint8), edge


def _buildings(world: World, air: Air, seed: int, hits: Hits, canvas: _Canvas) -> None:
    """Walls with rows of windows and doors, and roof slopes above them."""
    mask = hits.kind == BOX
    k, b, up = hits.which[mask], world.buildings, hits.up[mask]
    if not k.size:
        return
    dx, dy = hits.x[mask] - b["x"][k], hits.y[mask] - b["y"][k]
    p, q = dx * b["cos"][k] + dy * b["sin"][k], -dx * b["sin"][k] + dy * b["cos"][k]
    flank = hits.flank[mask]
    along = np.where(flank, q, p) + 0.5
    bay, wide, tall, glass = _WINDOWS[b["style"][k]].T
    column, row = np.floor(along / bay), np.floor(up / 3.1)
    fx, fy = along / bay - column, up / 3.1 - row
    whole = ((row + 0.9) * 3.1 < b["height"][k]) & (hits.depth[mask] < 260)
    window = (np.abs(fx - 0.5) < wide / 2) & (np.abs(fy - 0.52) < tall / 2) & whole
    pane = np.where(glass[:, None] > 0, (0.10, 0.15, 0.20), (0.045, 0.055, 0.07))
    pane = pane + air.horizon * np.where(glass > 0, 0.22, 0.06)[:, None]
    door = (row == 0) & (np.abs(fx - 0.5) < 0.17) & (fy < 0.7) & (hash01(column, k, 31) < 0.25)
    grime = 0.82 + 0.36 * value_noise(along + k * 3.3, up, 1.7, 33)
    wall = _WALLS[b["style"][k], b["wall"][k]] * (b["light"][k] ** 0.5 * grime)[:, None]
    roof = up > b["height"][k]
    tiles = 0.8 + 0.25 * (np.floor(up * 3) % 2) + 0.2 * (value_noise(along, up, 0.8, 35) - 0.5)
    slope = spectra.colours(air.table)[b["roof"][k]] * (b["light"][k] * tiles)[:, None]
    out = np.where(window[:, None], pane, wall)
    out = np.where(door[:, None], (0.12, 0.08, 0.06), out)
    canvas.albedo[mask] = np.where(roof[:, None], slope, out)
    # The outward normal of the face: towards its own side of the box.
    sign = np.where(flank, np.sign(p), np.sign(q))
    nx = np.where(flank, b["cos"][k], -b["sin"][k]) * sign
    ny = np.where(flank, b["sin"][k], b["cos"][k]) * sign
    sun = air.sun_vector
    level = nx * sun[0] + ny * sun[1]
    canvas.facing[mask] = np.clip(np.where(roof, 0.5 * level + 0.86 * sun[2], level), 0, 1)
    on = window & (hash01(column * 57 + row, k + seed, 41) < 0.35)
    canvas.glow[mask] = np.where(on[:, None], np.array([1.0, 0.72, 0.38]) * air.night, 0)


def _trees(world: World, cam: Camera, air: Air, hits: Hits, canvas: _Canvas) -> None:
    """Crowns of dappled leaves with a sunny side, and trunks."""
    mask = hits.kind == CROWN
    k, t, up = hits.which[mask], world.trees, hits.up[mask]
    across = hits.u[mask] * hits.depth[mask]  # m to the right of the axis
    leaf = 0.5 * value_noise(k * 13.7 + across, up, 0.45, 8)
    leaf = leaf + 0.5 * value_noise(k * 7.1 + across, up, 1.4, 9)
    colour = spectra.colours(air.table)[t["kind"][k]] * 1.5
    canvas.albedo[mask] = colour * (t["light"][k] * (0.55 + 0.9 * leaf))[:, None]
    share = np.clip((up - t["base"][k]) / (t["height"][k] - t["base"][k] + 0.1), 0, 1)
    fx, fy = cam.forward
    side = (across + (t["x"][k] - cam.x) * fy - (t["y"][k] - cam.y) * fx) / t["radius"][k]
    toward = side * air.sun_right(cam) - 0.5 * air.sun_ahead(cam) + share * 0.9
    canvas.facing[mask] = np.clip(0.35 + 0.4 * toward, 0.08, 1)
    canvas.plant |= mask
    trunk = hits.kind == TRUNK
    canvas.albedo[trunk] = (0.10, 0.075, 0.05)
    canvas.facing[trunk] = 0.4


def _far_and_fields(world: World, air: Air, hits: Hits, canvas: _Canvas) -> np.ndarray:
    """What was met through the rasters; returns the mask of far buildings."""
    mask = hits.kind == RASTER
    x, y, up = hits.x[mask], hits.y[mask], hits.up[mask]
    top, building = world.at(world.top, x, y), world.at(world.building, x, y)
    house = building >= 0
    colour = spectra.colours(air.table)[top]
    if world.buildings["x"].size:
        colour = np.where(
            house[:, None], 0.7 * _WALLS[world.buildings["style"][building], 0], colour
        )
    mottle = value_noise(x, y + 3 * up, 0.5, 12)
    canvas.albedo[mask] = colour * (0.65 + 0.6 * mottle)[:, None]
    canvas.facing[mask] = max(air.sun_vector[2], 0) * 0.8
    canvas.plant[mask] = spectra.VEGETATION[top] & ~house
    houses = np.zeros(mask.shape, bool)
    houses[mask] = house
    return houses


def _cars(hits: Hits, canvas: _Canvas) -> None:
    mask = hits.kind == CAR
    k, up = hits.which[mask], hits.up[mask]
    glass = ((up > 0.85) & (up < hits.cars["height"][k] - 0.18))[:, None]
    tyre = (up < 0.3)[:, None]
    paint = _CAR_COLOURS[hits.cars["colour"][k]]
    canvas.albedo[mask] = np.where(glass, 0.05, np.where(tyre, 0.03, paint))
    canvas.facing[mask] = 0.5


def _light(world: World, cam: Camera, air: Air, hits: Hits, canvas: _Canvas) -> np.ndarray:
    """Sun, sky light, lamps, reflections, haze: linear RGB [FINE, FINE, 3]."""
    lit = air.direct * canvas.facing
    if air.direct > 0.02:
        test = (hits.kind != SKY) & (hits.kind != CROWN) & (hits.depth < 140)
        dark = shadowed(world, hits.x[test], hits.y[test], hits.up[test], air.sun_vector)
        lit[test] *= 1 - 0.9 * dark
    colour = canvas.albedo * (air.ambient + lit[..., None] * air.sun_colour) + canvas.glow
    by_road = np.exp(-((world.smooth(world.road, hits.x, hits.y) / 9) ** 2))
    colour = colour + canvas.albedo * (air.lamps * by_road)[..., None]
    sky = sky_colour(air, hits.u, np.abs(hits.v), cam)
    shine = np.clip(1 - 1.1 * np.abs(hits.v), 0.15, 0.85)[..., None]
    ripple = 0.75 + 0.5 * value_noise(hits.x, hits.y, 1.0, 21)[..., None]
    mirror = colour * (1 - shine) + sky * shine * ripple * 0.9
    colour = np.where(canvas.water[..., None], mirror, colour)
    veil = 1 - np.exp(-hits.depth / air.visibility)[..., None]
    colour = colour * (1 - veil) + air.horizon * veil
    return np.where((hits.kind == SKY)[..., None], sky, colour)


def shadowed(world: World, x, y, up, sun) -> np.ndarray:
    """Whether something between a point (m) and the sun hides it: a march over the rasters."""
    flat = math.hypot(sun[0], sun[1]) + 1e-9
    dark = np.zeros(x.shape, bool)
    for step in (2.6, 4, 6, 8.5, 12, 16, 21, 28, 37, 50, 68, 92):
        px, py = x + step * sun[0] / flat, y + step * sun[1] / flat
        tall = np.maximum(world.at(world.solid, px, py), world.at(world.canopy, px, py))
        dark |= tall > up + step * sun[2] / flat + 0.3
    return dark


def _weather(colour: np.ndarray, air: Air, rng) -> np.ndarray:
    """Rain streaks and snow flakes over the picture."""
    if air.weather == "rain":
        streak = np.repeat(rng.random((FINE // 12, FINE)) < 0.05, 12, axis=0)[..., None]
        return np.where(streak, colour * 0.75 + air.horizon * 0.25, colour)
    if air.weather == "snow":
        flake = rng.random((SIZE, SIZE)) < 0.012
        flake = np.repeat(np.repeat(flake, 2, 0), 2, 1)[..., None]
        return np.where(flake, colour * 0.3 + air.horizon * 1.2, colour)
    return colour


def _develop(colour: np.ndarray, air: Air, rng) -> np.ndarray:
    """Exposure, white balance, vignette, tone curve, noise: linear light -> uint8 [96, 96, 3]."""
    balance = 1 + rng.normal(0, 0.03, 3)
    exposure = (0.2 / max(colour.mean(), 0.02)) ** air.metering * math.exp(rng.normal(0, 0.12))
    c = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    vignette = 1 - 0.06 * (c[:, None] ** 2 + c[None] ** 2)
    x = np.clip(colour * balance * exposure * vignette[..., None], 0, None)
    x = x * (1 + x / 4.0) / (1 + x)  # soft shoulder
    x = np.clip(x * 1.35, 0, 1) ** (1 / 2.2) + rng.normal(0, air.grain, x.shape)
    return np.clip(np.rint(x * 255), 0, 255).astype(np.uint8)

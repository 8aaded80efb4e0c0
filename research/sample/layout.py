"""The plan of a site: quarters, roads and water on a 2.5 m grid, each quarter with its own use.

A site is a patchwork of quarters of about 200 m (the cells of a jittered lattice). Each draws its
use (towers, rows, sheds, park, field ...), its building style, its trees and its ground
independently of its neighbours, under the site's climate and population. That is what makes the
world local: what stands around a photo differs from what stands 300 m away, and both differ
less from site to site than from quarter to quarter.

Coordinates here: metres east (x) and south (y) of the padded grid's upper-left corner. The grid
reaches MARGIN beyond the scene on all sides, so that photos near the edge see a full world.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial import cKDTree

from research.sample.climate import CLIMATES, styles_of, urban_base
from research.sample.forms import FORMS, centres
from research.sample.noise import grid_noise, hash01
from research.sample.sites import SITE_M, Site
from research.sample.spectra import INDEX, STYLE_NAMES
from research.sample.uses import BUILT, USE_NAMES, USES

CELL = 2.5
MARGIN = 240.0
EXTENT = SITE_M + 2 * MARGIN
N = int(EXTENT / CELL)


@dataclass
class Quarters:
    """One value a quarter: centre x, y (m), use, style (indices), angle (rad), block spacing,
    half street width, trees' kind and density, ground materials, mean building height (m)."""

    x: np.ndarray
    y: np.ndarray
    use: np.ndarray
    style: np.ndarray
    angle: np.ndarray
    block: np.ndarray
    street: np.ndarray
    street_material: np.ndarray
    tree: np.ndarray
    tree2: np.ndarray
    trees: np.ndarray
    street_trees: np.ndarray
    ground: np.ndarray
    ground2: np.ndarray
    mix: np.ndarray
    crops: np.ndarray
    parcel: np.ndarray
    height: np.ndarray
    main: np.ndarray


@dataclass
class World:
    """A finished site. Rasters are [N, N] on the padded 2.5 m grid, rows from north to south.

    quarter: index; road, water: signed distances (m, negative inside); ground: material under
    trees; top: material seen from above; light: brightness factor of top (1 = the material's own);
    building: index or -1; solid: building height; canopy: crown top; growth: field height (m).
    buildings, trees: tables as dicts of equal-length arrays.
    """

    site: Site
    seed: int
    quarters: Quarters
    quarter: np.ndarray
    road: np.ndarray
    main: np.ndarray
    water: np.ndarray
    ground: np.ndarray
    light: np.ndarray
    parcel: np.ndarray
    top: np.ndarray = field(default_factory=lambda: np.empty(0))
    building: np.ndarray = field(default_factory=lambda: np.empty(0))
    solid: np.ndarray = field(default_factory=lambda: np.empty(0))
    canopy: np.ndarray = field(default_factory=lambda: np.empty(0))
    growth: np.ndarray = field(default_factory=lambda: np.empty(0))
    buildings: dict = field(default_factory=dict)
    trees: dict = field(default_factory=dict)
    water_material: int = 0

    def at(self, raster: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The raster's cell values at x, y (m); beyond the grid the nearest cell's."""
        i = np.clip((y / CELL).astype(np.int32), 0, N - 1)
        j = np.clip((x / CELL).astype(np.int32), 0, N - 1)
        return raster[i, j]

    def smooth(self, raster: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Bilinear values of a distance raster: edges come out crisper than the grid."""
        u = np.clip(x / CELL - 0.5, 0, N - 1.001)
        v = np.clip(y / CELL - 0.5, 0, N - 1.001)
        j, i = u.astype(np.int32), v.astype(np.int32)
        fu, fv = (u - j).astype(np.float32), (v - i).astype(np.float32)
        top = raster[i, j] * (1 - fu) + raster[i, j + 1] * fu
        low = raster[i + 1, j] * (1 - fu) + raster[i + 1, j + 1] * fu
        return top * (1 - fv) + low * fv


def _quarters(site: Site, rng: np.random.Generator) -> tuple[Quarters, float]:
    climate, form = CLIMATES[site.climate], FORMS[site.form]
    plot = centres(form, EXTENT, urban_base(site), rng)
    x, y, u, k = plot.x, plot.y, plot.u, plot.x.size
    poor = {"Africa": 1.0, "South America": 0.7, "Asia": 0.6}.get(site.continent, 0.05)
    factor = {
        "informal": poor,
        "forest": climate.forest,
        "field": climate.crop,
        "bare": climate.bare,
        "orchard": climate.crop,
        "lake": 0.4 + climate.forest / 2,
    }
    weights = (
        np.stack(
            [
                use.weight
                * (factor.get(name, 1.0) * form.uses.get(name, 1.0))
                * np.exp(-(((u - use.u) / use.spread) ** 2))
                for name, use in USES.items()
            ],
            axis=1,
        )
        + 1e-9
    )
    total = np.cumsum(weights, axis=1)
    use = (total < rng.random((k, 1)) * total[:, -1:]).sum(axis=1)
    if site.coast or rng.random() < 0.4:
        use[use == USE_NAMES.index("lake")] = USE_NAMES.index("park")

    own = rng.choice(styles_of(site), size=5)
    style = np.array([STYLE_NAMES.index(s) for s in rng.choice(own, size=k)])
    special = {
        "core": ("glass", "glass", "gravel", "white"),
        "commercial": ("gravel", "glass", "brick", *own),
        "apartments": ("gravel", "white", *own),
        "industrial": ("shed", "blue shed", "works", "white"),
        "informal": ("rusty", "tin", "blue", "adobe" if site.climate == "arid" else "rusty"),
    }
    for name, choice in special.items():
        mine = np.flatnonzero(use == USE_NAMES.index(name))
        style[mine] = [STYLE_NAMES.index(s) for s in rng.choice(choice, size=mine.size)]

    table = [USES[USE_NAMES[i]] for i in use]
    of = lambda attribute: np.array([getattr(t, attribute) for t in table])  # noqa: E731
    across = [0, math.pi / 2]
    angle = plot.turn + (rng.choice(across, k) if plot.parallel else rng.uniform(*across, k))
    angle = angle if plot.angle is None else plot.angle
    dirt = INDEX[climate.dirt]
    paved = rng.choice([INDEX["asphalt"], INDEX["worn asphalt"], INDEX["asphalt"]], k)
    name = np.array(USE_NAMES)[use]
    tracks = of("tracks")
    street_material = np.where(
        tracks == "dirt", dirt, np.where(tracks == "gravel", INDEX["gravel"], paved)
    )
    street_material[(name == "informal")] = dirt
    old = (name == "commercial") & (rng.random(k) < 0.4)
    street_material[old] = INDEX["cobbles"]

    kinds = np.array([INDEX[t] for t in climate.trees])
    tree, tree2 = rng.choice(kinds, k), rng.choice(kinds, k)
    density = of("trees") * rng.uniform(0.4, 1.6, k)
    density[name == "forest"] = rng.uniform(0.55, 0.95, (name == "forest").sum())
    grass, dry, soil = INDEX[climate.grass], INDEX[climate.dry], INDEX[climate.soil]
    hard = rng.choice([INDEX["concrete"], INDEX["worn asphalt"], INDEX["cobbles"]], k)
    green = rng.choice([grass, grass, grass, dry], k)
    bare = rng.choice([soil, soil, INDEX["gravel"], INDEX["rock"], INDEX["sand"]], k)
    bare[name == "informal"] = soil
    ground, ground2 = green.copy(), np.where(rng.random(k) < 0.5, dry, soil)
    ground2[np.isin(name, ("core", "commercial", "apartments", "terraced"))] = hard[
        np.isin(name, ("core", "commercial", "apartments", "terraced"))
    ]
    works = np.isin(name, ("industrial", "parking"))
    ground2[works] = rng.choice(
        [INDEX["concrete"], INDEX["worn asphalt"], INDEX["gravel"]], works.sum()
    )
    ground2[np.isin(name, ("bare", "informal"))] = bare[np.isin(name, ("bare", "informal"))]
    mix = np.clip(of("green") * rng.uniform(0.6, 1.25, k), 0, 1)
    crops = rng.choice([INDEX[c] for c in climate.crops], (k, 3))
    low, high = of("height")[:, 0], of("height")[:, 1]
    height = low * (np.maximum(high, 0.1) / np.maximum(low, 0.1)) ** rng.random(k)
    main = np.where(np.isin(name, BUILT), rng.choice([3.6, 5.0, 7.0], k, p=[0.45, 0.4, 0.15]), 2.2)
    main[np.isin(name, ("park", "sports", "parking"))] = 3.6
    return Quarters(
        x=x,
        y=y,
        use=use,
        style=style,
        angle=angle,
        block=of("block") * rng.uniform(0.88, 1.15, (k, 2)) * form.block,
        street=of("street"),
        street_material=street_material,
        tree=tree,
        tree2=tree2,
        trees=density,
        street_trees=(rng.random(k) < 0.4) & np.isin(name, (*BUILT, "park", "parking")),
        ground=ground,
        ground2=ground2,
        mix=mix,
        crops=crops,
        parcel=rng.uniform((70, 35), (150, 80), (k, 2)),
        height=height,
        main=main,
    ), plot.spacing


def _winding(rng, x, y, half: float, swing: float) -> np.ndarray:
    """Signed distance (m, negative inside) to a winding band of half-width `half` through a random
    point; where half is infinite, to the sea beyond a winding coast 450 m from that point."""
    turn = rng.uniform(0, 2 * math.pi)
    x0, y0 = EXTENT / 2 + rng.uniform(-500, 500, 2) * (0.4 if math.isinf(half) else 1)
    p = (x - x0) * math.cos(turn) + (y - y0) * math.sin(turn)
    q = -(x - x0) * math.sin(turn) + (y - y0) * math.cos(turn)
    curve, slope = 0.0, 0.0
    for wave in (1400.0, 520.0, 190.0):
        amplitude, phase = swing * wave / 1400 * rng.uniform(0.4, 1), rng.uniform(0, 2 * math.pi)
        curve = curve + amplitude * np.sin(2 * math.pi * p / wave + phase)
        slope = slope + amplitude * 2 * math.pi / wave * np.cos(2 * math.pi * p / wave + phase)
    across = (q - curve) / np.sqrt(1 + slope**2)
    return 450 - across if math.isinf(half) else np.abs(across) - half


def plan(site: Site, seed: int = 0) -> World:
    """Quarters, roads, water and ground of a site: a World without buildings and trees yet."""
    rng = site.rng(seed, 0)
    quarters, spacing = _quarters(site, rng)
    axis = (np.arange(N, dtype=np.float64) + 0.5) * CELL
    x, y = (a.astype(np.float64) for a in np.meshgrid(axis, axis))
    name = np.array(USE_NAMES)[quarters.use]

    water = np.full((N, N), 1e4)
    if site.coast:
        water = np.minimum(water, _winding(rng, x, y, math.inf, 90.0))
    elif rng.random() < (0.35 if site.climate == "arid" else 0.6):
        water = np.minimum(water, _winding(rng, x, y, rng.choice([6.0, 16.0, 35.0, 60.0]), 150.0))
    water_material = INDEX[rng.choice(["clear water", "green water", "muddy water"])]
    if site.coast:
        water_material = INDEX["clear water" if site.lat % 1 < 0.5 else "green water"]

    # Main roads run between quarters: distance to the bisector of the two nearest centres.
    bend = rng.uniform(*FORMS[site.form].bend)
    wx = x + bend * np.sin(y / rng.uniform(60, 110) + rng.uniform(0, 6))
    wy = y + bend * np.sin(x / rng.uniform(60, 110) + rng.uniform(0, 6))
    tree = cKDTree(np.stack([quarters.x, quarters.y], 1))
    d, near = tree.query(np.stack([wx.ravel(), wy.ravel()], 1), k=2)
    a, b = near[:, 0], near[:, 1]
    gap = np.hypot(quarters.x[a] - quarters.x[b], quarters.y[a] - quarters.y[b])
    width = np.maximum(quarters.main[a], quarters.main[b])
    open_land = ~np.isin(name, BUILT)
    width = np.where(open_land[a] & open_land[b], np.minimum(width, 2.6), width)
    bridge = (width.reshape(N, N) >= 5.0) & (not site.coast)  # wide roads cross rivers
    width = width * site.look.street
    main = ((d[:, 1] ** 2 - d[:, 0] ** 2) / (2 * gap) - width).reshape(N, N)
    quarter = a.reshape(N, N).astype(np.int16)

    # Streets of a quarter: a grid of its own angle.
    cos, sin = np.cos(quarters.angle)[quarter], np.sin(quarters.angle)[quarter]
    dx, dy = x - quarters.x[quarter], y - quarters.y[quarter]
    p, q = dx * cos + dy * sin, -dx * sin + dy * cos
    streets = np.full((N, N), 1e3)
    for along, k in ((p, 0), (q, 1)):
        step = np.where(quarters.block[:, k] > 0, quarters.block[:, k], 1e6)[quarter]
        phase = along / step + 0.5
        half = site.look.street * quarters.street[quarter]
        streets = np.minimum(streets, np.abs(phase - np.floor(phase + 0.5)) * step - half)
    streets[(quarters.block[:, 0] <= 0)[quarter]] = 1e3

    # Lakes: round-ish, inside their quarter.
    radius = np.hypot(dx, dy)
    wave = np.arctan2(dy, dx)
    lake = np.isin(name, ("lake",))[quarter]
    shore = spacing * (0.36 + 0.05 * np.sin(3 * wave + quarters.angle[quarter] * 7))
    pond = (name == "park") & (quarters.mix > 0.9) & (quarters.trees > 0.25)
    shore = np.where(pond[quarter], 0.4 * shore, shore)
    lakes = np.where(lake | pond[quarter], radius - shore, 1e4)
    water = np.minimum(water, lakes)
    sea = water < 0
    road = np.minimum(np.where(sea & ~bridge, 1e3, main), np.where(water < 4, 1e3, streets))

    return _ground(
        World(
            site=site,
            seed=seed,
            quarters=quarters,
            quarter=quarter,
            road=road.astype(np.float32),
            main=main.astype(np.float32),
            water=water.astype(np.float32),
            ground=np.zeros((N, N), np.uint8),
            light=np.ones((N, N), np.float32),
            parcel=np.zeros((N, N), np.float32),
            water_material=water_material,
        ),
        p,
        q,
        rng,
    )


def _ground(world: World, p, q, rng) -> World:
    """Fill in the ground materials: plant cover, parcels, pavements, roads, banks, water."""
    quarters, quarter, site = world.quarters, world.quarter, world.site
    climate = CLIMATES[site.climate]
    name = np.array(USE_NAMES)[quarters.use]
    patch = 0.75 * grid_noise(rng, N, CELL, 18.0) + 0.25 * rng.random((N, N), dtype=np.float32)
    ground = np.where(
        patch < quarters.mix[quarter], quarters.ground[quarter], quarters.ground2[quarter]
    ).astype(np.uint8)
    light = 0.86 + 0.28 * grid_noise(rng, N, CELL, 60.0)
    fields = np.isin(name, ("field",))[quarter]
    i = np.floor(p / quarters.parcel[quarter, 0] + 0.5)
    j = np.floor(q / quarters.parcel[quarter, 1] + 0.5)
    mark = hash01(i + 131 * quarter.astype(np.int64), j, world.seed + 17)
    crop = quarters.crops[quarter, (mark * 3).astype(np.int8)]
    ground = np.where(fields, crop, ground).astype(np.uint8)
    light = np.where(fields, light * (0.82 + 0.36 * (mark * 7.0 % 1)), light)
    pitch = (np.isin(name, ("sports",))[quarter]) & (np.abs(p) < 52) & (np.abs(q) < 34)
    ground[pitch] = INDEX[climate.grass]
    ground[(world.road < 2.2) & np.isin(name, BUILT)[quarter] & (name != "informal")[quarter]] = (
        INDEX["concrete"]
    )
    asphalt = world.main <= world.road + 1e-3
    minor = quarters.street_material[quarter]
    both = np.where(asphalt, np.where(quarters.main[quarter] < 3, minor, INDEX["asphalt"]), minor)
    ground = np.where(world.road < 0, both, ground).astype(np.uint8)
    bank = (world.water >= 0) & (world.water < (16 if site.coast else 5)) & (world.road > 0)
    ground[bank] = INDEX["sand" if site.coast else climate.grass]
    wet = (world.water < 0) & (world.road > 0)
    ground[wet] = world.water_material
    light[wet] = 1.0
    light *= 1 + rng.normal(0, 0.05, (N, N))
    ground = site.look.ground_of()[ground]
    world.ground, world.light, world.parcel = ground, light.astype(np.float32), mark
    return world

"""What each pixel of a photo sees: a true perspective view of boxes, crowns, fields and ground.

Every image column is a vertical fan of rays. The objects that a column meets (boxes of buildings
and cars, crowns and trunks of trees, fields and the far skyline from the height rasters) give
strips [low, high] of the view at a depth; the nearest strip wins each pixel, the rest is ground or
sky. Boxes and crowns are met exactly, not through the grid, so that their edges stay straight.

Slopes: u to the right and v upwards, per metre along the camera's axis; the axis is level, and a
tilted camera is imitated by moving the horizon (a shifted lens), so that walls stay upright.
"""

import math
from dataclasses import dataclass

import numpy as np

from research.sample import spectra
from research.sample.layout import EXTENT, World
from research.sample.noise import value_noise
from research.sample.objects import TREE_FORMS

SIZE = 96  # pixels of a photo
FINE = 2 * SIZE  # pixels it is rendered with
FAR_TREES, FAR_BOXES, HORIZON = 170.0, 420.0, 1100.0  # m: how far each kind is drawn
SKY, GROUND, BOX, CROWN, TRUNK, RASTER, CAR = range(7)
_STEPS = 1.6 * (HORIZON / 1.6) ** (np.arange(84) / 83.0)


@dataclass(frozen=True)
class Camera:
    """x, y: m on the site's grid; height: m; heading: degrees clockwise from north; fov: degrees
    across; tilt: how far the horizon lies below the middle, in units of half the image."""

    x: float
    y: float
    height: float
    heading: float
    fov: float
    tilt: float = 0.0

    @property
    def forward(self) -> tuple[float, float]:
        """Unit vector along the axis: (east, south)."""
        a = math.radians(self.heading)
        return math.sin(a), -math.cos(a)

    def directions(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(east, south) per metre of depth of the columns with slopes u."""
        fx, fy = self.forward
        return fx - u * fy, fy + u * fx

    def slopes(self, size: int = FINE) -> tuple[np.ndarray, np.ndarray]:
        """u of the columns and v of the rows, at pixel centres."""
        half = math.tan(math.radians(self.fov) / 2)
        centre = (np.arange(size) + 0.5) / size * 2 - 1
        return centre * half, (self.tilt - centre) * half


@dataclass
class Hits:
    """What the pixels [FINE, FINE] see. kind: SKY ... CAR; which: building, car or tree (-1 for
    the rest); depth along the axis, place x, y, height up (m); u, v: slopes; flank: whether a box
    was entered through a side across its own x axis; cars: their table."""

    kind: np.ndarray
    which: np.ndarray
    depth: np.ndarray
    x: np.ndarray
    y: np.ndarray
    up: np.ndarray
    u: np.ndarray
    v: np.ndarray
    flank: np.ndarray
    cars: dict


def cast(world: World, cam: Camera, rng: np.random.Generator) -> Hits:
    """Follow all rays of a camera. `rng` places the cars."""
    u, v = cam.slopes()
    cars = _parked(world, cam, rng)
    parts = [
        (BOX, *_building_strips(world, cam, u)),
        (CAR, *_car_strips(cars, cam, u)),
        *_tree_strips(world, cam, u),
        (RASTER, *_raster_strips(world, cam, u)),
    ]
    z, low, high, flank = (np.concatenate([p[k] for p in parts]) for k in (1, 2, 3, 5))
    kind = np.concatenate([np.full(len(p[1]), p[0]) for p in parts])
    which = np.concatenate([p[4] for p in parts])
    hit = nearest_strip(
        z.astype(np.float32), low.astype(np.float32), high.astype(np.float32), v.astype(np.float32)
    )
    uu, vv = np.broadcast_arrays(u[None], v[:, None])
    columns = np.broadcast_to(np.arange(FINE), hit.shape)
    met = hit >= 0
    below = vv < -cam.height / HORIZON
    seen = np.where(met, kind[hit], np.where(below, GROUND, SKY))
    depth = np.where(
        met, z[hit, columns], np.where(below, cam.height / np.maximum(-vv, 1e-6), HORIZON)
    )
    dx, dy = cam.directions(uu)
    return Hits(
        kind=seen,
        which=np.where(met, which[hit], -1),
        depth=depth,
        x=cam.x + depth * dx,
        y=cam.y + depth * dy,
        up=np.where(seen == GROUND, 0.0, cam.height + depth * vv),
        u=uu,
        v=vv,
        flank=np.where(met, flank[hit, columns], False),
        cars=cars,
    )


def nearest_strip(z, low, high, v) -> np.ndarray:
    """Index of the nearest strip at each pixel, -1 where there is none.

    z, low, high: [strips, columns], z infinite where a strip misses a column; v: [rows] slopes.
    Returns int32 [rows, columns].
    """
    hit = np.full((v.size, z.shape[1]), -1, np.int32)
    order = np.argsort(z, axis=0, kind="stable")
    reached = np.isfinite(z)
    low = np.where(reached, low, np.inf)
    columns, rows = np.arange(z.shape[1]), v[:, None]
    for k in range(int(reached.sum(axis=0).max(initial=0))):
        which = order[k]
        strip = (rows >= low[which, columns]) & (rows < high[which, columns])
        np.copyto(hit, which, where=strip & (hit < 0))
    return hit


def enter_boxes(table: dict, cam: Camera, u: np.ndarray, far: float):
    """Rays through the boxes of a table in front of the camera.

    Returns their indices [m], depth of entry and of exit [m, columns] (entry infinite where the
    ray misses), and whether the ray enters through a side across the box's own x axis.
    """
    fx, fy = cam.forward
    rx, ry = table["x"] - cam.x, table["y"] - cam.y
    radius = np.hypot(table["half_w"], table["half_d"])
    depth, side = rx * fx + ry * fy, -rx * fy + ry * fx
    reach = np.maximum(depth, 0) * np.abs(u).max() + 1.5 * radius
    pick = np.flatnonzero((depth > -radius) & (depth < far) & (np.abs(side) < reach))
    c, s = table["cos"][pick][:, None], table["sin"][pick][:, None]
    # Origin and direction in the box's own frame, then the slab test.
    ox = -(rx[pick][:, None] * c + ry[pick][:, None] * s)
    oy = rx[pick][:, None] * s - ry[pick][:, None] * c
    east, south = cam.directions(u)
    dx, dy = c * east + s * south, -s * east + c * south
    dx, dy = (np.where(np.abs(d) < 1e-9, 1e-9, d) for d in (dx, dy))
    hw, hd = table["half_w"][pick][:, None], table["half_d"][pick][:, None]
    ax, bx, ay, by = (-hw - ox) / dx, (hw - ox) / dx, (-hd - oy) / dy, (hd - oy) / dy
    near_x, near_y = np.minimum(ax, bx), np.minimum(ay, by)
    enter = np.maximum(near_x, near_y)
    leave = np.minimum(np.maximum(ax, bx), np.maximum(ay, by))
    hit = (enter < leave) & (enter > 0.2)
    return pick, np.where(hit, enter, np.inf), leave, near_x > near_y


def _building_strips(world: World, cam: Camera, u):
    """Walls, and above them the slope of a hipped roof, in one strip."""
    b = world.buildings
    pick, enter, leave, flank = enter_boxes(b, cam, u, FAR_BOXES)
    wall, rise = b["height"][pick][:, None], b["rise"][pick][:, None]
    middle = np.where(np.isfinite(enter), leave - enter, 0) / 2
    rise = np.minimum(rise, b["pitch"][pick][:, None] * middle * np.sqrt(1 + u * u))
    top = np.maximum((wall - cam.height) / enter, (wall + rise - cam.height) / (enter + middle))
    return enter, -cam.height / enter, top, pick, flank


def _car_strips(cars: dict, cam: Camera, u):
    pick, enter, _, flank = enter_boxes(cars, cam, u, 90.0)
    top = (cars["height"][pick][:, None] - cam.height) / enter
    return enter, -cam.height / enter, top, pick, flank


def _tree_strips(world: World, cam: Camera, u):
    """Outlines of crowns (round, cone or umbrella, ragged) and trunks under them."""
    t, (fx, fy) = world.trees, cam.forward
    rx, ry = t["x"] - cam.x, t["y"] - cam.y
    depth, side = rx * fx + ry * fy, -rx * fy + ry * fx
    wide = np.maximum(depth, 0) * np.abs(u).max() + 6
    near = np.flatnonzero(
        (depth > -4)
        & (depth < FAR_TREES)
        & (np.abs(side) < wide)
        & (rx * rx + ry * ry > (t["radius"] + 1.2) ** 2)
    )
    near = near[np.argsort(depth[near], kind="stable")[:700]]
    z, s = depth[near][:, None], side[near][:, None]
    base, peak = t["base"][near][:, None], t["height"][near][:, None]
    length = np.sqrt(1 + u * u)
    across = (u * z - s) / length  # m between the stem and the ray
    off = across / t["radius"][near][:, None]
    ragged = value_noise(near[:, None] * 17.0, off, 0.22, 5)
    off = np.minimum(np.abs(off) * (0.93 + 0.14 * ragged), 1)
    z = (z + u * s) / length**2  # [trees, columns]: where the ray passes closest to the stem
    arc = np.sqrt(1 - off * off) * (0.8 + 0.3 * ragged)
    form = np.array([TREE_FORMS[spectra.MATERIALS[k]][3] for k in t["kind"][near]])[:, None]
    cone, flat, half = form == "cone", form == "flat", (peak - base) / 2
    up = np.where(
        cone,
        base + 2 * half * (1 - off),
        np.where(flat, peak - 1.2 * half * off**2, base + half + half * arc),
    )
    down = np.where(cone, base, np.where(flat, up - half * arc, base + half - half * arc))
    none = np.zeros(z.shape[:1] + u.shape, bool)
    crowns = (
        CROWN,
        np.where((off < 1) & (z > 0.3), z, np.inf),
        (down - cam.height) / z,
        (up - cam.height) / z,
        near,
        none,
    )
    stem = (np.abs(across) < 0.08 + 0.02 * peak) & (z > 0.3) & (z < 70)
    trunks = (
        TRUNK,
        np.where(stem, z + 0.01, np.inf),
        np.broadcast_to(-cam.height / z, stem.shape),
        np.broadcast_to((base + 0.5 - cam.height) / z, stem.shape),
        near,
        none,
    )
    return crowns, trunks


def _raster_strips(world: World, cam: Camera, u):
    """Fields at any distance; crowns and roofs where they are too far to be met one by one."""
    z = _STEPS[:, None]
    east, south = cam.directions(u)
    x, y = cam.x + z * east, cam.y + z * south
    crowns = np.where(z >= FAR_TREES, world.at(world.canopy, x, y), 0)
    roofs = np.where(z >= FAR_BOXES, world.at(world.solid, x, y), 0)
    tall = np.maximum(np.maximum(world.at(world.growth, x, y), crowns), roofs)
    tall = np.where((x < 0) | (y < 0) | (x > EXTENT) | (y > EXTENT), 0, tall)
    return (
        np.where(tall > 0.05, z, np.inf),
        np.broadcast_to(-cam.height / z, x.shape),
        (tall - cam.height) / z,
        np.full(len(z), -1),
        np.zeros(x.shape, bool),
    )


def _parked(world: World, cam: Camera, rng: np.random.Generator) -> dict:
    """Cars along the road within 80 m, aligned with it; other ones in every photo."""
    x, y = cam.x + rng.uniform(-80, 80, 90), cam.y + rng.uniform(-80, 80, 90)
    edge = world.smooth(world.road, x, y)
    ok = (edge < -0.8) & (edge > -3.4) & (np.hypot(x - cam.x, y - cam.y) > 5)
    ok &= rng.random(90) < 0.8
    x, y = x[ok], y[ok]
    gx = world.smooth(world.road, x + 2, y) - world.smooth(world.road, x - 2, y)
    gy = world.smooth(world.road, x, y + 2) - world.smooth(world.road, x, y - 2)
    norm = np.hypot(gx, gy) + 1e-6
    m = x.size
    return {
        "x": x,
        "y": y,
        "cos": -gy / norm,
        "sin": gx / norm,
        "half_w": np.full(m, 2.1),
        "half_d": np.full(m, 0.85),
        "height": rng.uniform(1.35, 2.1, m),
        "colour": rng.integers(0, 7, m),
    }

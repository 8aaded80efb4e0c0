"""Buildings and trees of a site: lots along the streets, crowns where a quarter grows them.

Both are kept twice: as tables of boxes and crowns for exact perspective views, and rasterised for
the view from above and for shadows.
"""

import numpy as np
from rasterio.features import rasterize
from rasterio.transform import Affine

from research.sample.layout import CELL, EXTENT, N, World, plan
from research.sample.sites import Site
from research.sample.spectra import FIELD_HEIGHT, INDEX, MATERIALS, STYLE_NAMES, STYLES
from research.sample.uses import BUILT, USE_NAMES, USES

# crown radius (m), height (m), height of the crown's base over tree height, shape
TREE_FORMS = {
    "broadleaf": (3.2, 10.0, 0.3, "round"),
    "light broadleaf": (2.8, 9.0, 0.3, "round"),
    "conifer": (2.2, 13.0, 0.1, "cone"),
    "olive": (2.3, 5.0, 0.3, "round"),
    "autumn tree": (2.7, 9.0, 0.28, "round"),
    "palm": (2.6, 10.0, 0.72, "flat"),
    "red blossom": (3.0, 7.5, 0.32, "round"),
}


def build(site: Site, seed: int = 0) -> World:
    """The whole site: plan, buildings, trees; the same for the same site and seed."""
    return furnish(plan(site, seed))


def furnish(world: World) -> World:
    """Add buildings, trees and what grows on fields; fills top, building, solid, canopy, growth."""
    rng = world.site.rng(world.seed, 1)
    world.buildings = _buildings(world, rng)
    b = world.buildings
    cx = np.stack([-1, 1, 1, -1])[None] * b["half_w"][:, None]
    cy = np.stack([-1, -1, 1, 1])[None] * b["half_d"][:, None]
    px = b["x"][:, None] + cx * b["cos"][:, None] - cy * b["sin"][:, None]
    py = b["y"][:, None] + cx * b["sin"][:, None] + cy * b["cos"][:, None]
    rings = np.stack([px, py], -1)[:, [0, 1, 2, 3, 0]]
    shapes = [({"type": "Polygon", "coordinates": [r]}, i) for i, r in enumerate(rings.tolist(), 1)]
    grid = Affine(CELL, 0, 0, 0, CELL, 0)
    ids = (
        rasterize(shapes, (N, N), transform=grid, dtype="int32")
        if shapes
        else np.zeros((N, N), np.int32)
    )
    world.building = ids - 1
    on = world.building >= 0
    which = world.building[on]
    world.solid = np.zeros((N, N), np.float32)
    world.solid[on] = b["height"][which] + 0.5 * b["rise"][which]
    world.top = world.ground.copy()
    world.top[on] = b["roof"][which]
    world.light[on] = b["light"][which] * (1 + rng.normal(0, 0.04, which.size))

    world.growth = np.zeros((N, N), np.float32)
    for name, height in FIELD_HEIGHT.items():
        world.growth[(world.ground == INDEX[name]) & (world.road > 0.5)] = height
    world.growth *= 0.9 + 0.2 * world.parcel

    world.trees = _trees(world, rng)
    t = world.trees
    world.canopy = np.zeros((N, N), np.float32)
    order = np.argsort(t["height"], kind="stable")  # taller crowns are painted last
    i0, j0 = (t["y"][order] / CELL).astype(int), (t["x"][order] / CELL).astype(int)
    for di in (-1, 0, 1):
        for dj in (-1, 0, 1):
            i, j = i0 + di, j0 + dj
            off = np.hypot((i + 0.5) * CELL - t["y"][order], (j + 0.5) * CELL - t["x"][order])
            ok = (off < t["radius"][order]) & (i >= 0) & (j >= 0) & (i < N) & (j < N)
            i, j, k = i[ok], j[ok], order[ok]
            free = ~on[i, j]
            i, j, k = i[free], j[free], k[free]
            np.maximum.at(world.canopy, (i, j), t["height"][k] * (1 - 0.15 * (di * di + dj * dj)))
            world.top[i, j] = t["kind"][k]
            world.light[i, j] = t["light"][k]
    return world


# Lots are tried at 25 points, corners and sides included: close enough not to miss a lane.
_TRY = np.array([(i, j) for i in np.linspace(-1, 1, 5) for j in np.linspace(-1, 1, 5)])
_SETBACK = {
    "core": 3.0,
    "commercial": 2.6,
    "apartments": 4.5,
    "terraced": 3.2,
    "informal": 1.6,
    "detached": 4.5,
    "industrial": 5.5,
}


def _points(x, y, half_w, half_d, cos, sin) -> tuple[np.ndarray, np.ndarray]:
    """The points [m, 25] of boxes [m]."""
    fx, fy = _TRY[:, 0] * half_w[:, None], _TRY[:, 1] * half_d[:, None]
    cos, sin = np.atleast_1d(cos)[:, None], np.atleast_1d(sin)[:, None]
    return x[:, None] + fx * cos - fy * sin, y[:, None] + fx * sin + fy * cos


def _fits(world: World, px, py, k) -> np.ndarray:
    """Which lots lie on free land of their own quarter."""
    inside = (px > 0) & (py > 0) & (px < EXTENT) & (py < EXTENT)
    ok = inside & (world.at(world.road, px, py) > 1.2) & (world.at(world.water, px, py) > 4)
    return (ok & (world.at(world.quarter, px, py) == np.asarray(k)[..., None])).all(axis=1)


def _frontage(world: World, rng, taken: np.ndarray, road: np.ndarray, scale: float) -> dict:
    """Buildings side by side along roads, where land is not taken yet; marks `taken`.

    road: signed distance [N, N] (m) to the roads that they face; scale: of their footprint.
    """
    quarters = world.quarters
    names = [USE_NAMES[i] for i in quarters.use]
    uses = [USES[n] for n in names]
    built = np.array([n in BUILT for n in names])
    half_w = np.array([0.5 * scale * u.lot[0] * u.fill[0] for u in uses])
    half_d = np.array([0.5 * scale * u.lot[1] * u.fill[1] for u in uses])
    target = np.array([_SETBACK.get(n, 0.0) for n in names]) + half_d
    band = built[world.quarter] & (np.abs(road - target[world.quarter]) < 0.5 * CELL) & ~taken
    cells = rng.permutation(np.flatnonzero(band))[:20000]
    i, j = np.divmod(cells, N)
    gy, gx = np.gradient(road, CELL)
    gx, gy = gx.ravel()[cells], gy.ravel()[cells]
    norm = np.hypot(gx, gy) + 1e-9
    k = world.quarter.ravel()[cells].astype(int)
    lift = target[k] - road.ravel()[cells]
    x, y = (j + 0.5) * CELL + lift * gx / norm, (i + 0.5) * CELL + lift * gy / norm
    hw = half_w[k] * rng.uniform(0.85, 1.1, k.size)
    hd = half_d[k] * rng.uniform(0.9, 1.05, k.size)
    cos, sin = gy / norm, -gx / norm  # the box's own x axis runs along the road
    keep = np.flatnonzero(_fits(world, *_points(x, y, hw, hd, cos, sin), k))
    px, py = _points(x, y, hw + 1.0, hd + 1.0, cos, sin)
    ci, cj = (np.clip((a / CELL).astype(int), 0, N - 1) for a in (py, px))
    chosen = []
    for m in keep:
        if not taken[ci[m], cj[m]].any():
            chosen.append(m)
            _stamp(taken, x[m], y[m], hw[m] + 1, hd[m] + 1, cos[m], sin[m])
    c = np.array(chosen, int)
    c = c[rng.random(c.size) > 0.06]
    return {
        "x": x[c],
        "y": y[c],
        "half_w": hw[c],
        "half_d": hd[c],
        "cos": cos[c],
        "sin": sin[c],
        "quarter": k[c],
    }


def _stamp(taken, x, y, hw, hd, cos, sin) -> None:
    p = np.arange(-hw, hw + 1.2, 1.2)[:, None]
    q = np.arange(-hd, hd + 1.2, 1.2)[None]
    i, j = (y + p * sin + q * cos) / CELL, (x + p * cos - q * sin) / CELL
    taken[np.clip(i.astype(int), 0, N - 1), np.clip(j.astype(int), 0, N - 1)] = True


def _interior(world: World, rng, taken: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """Buildings on the lots of one quarter's own blocks."""
    quarters, use = world.quarters, USES[USE_NAMES[world.quarters.use[k]]]
    reach = 1.1 * np.sqrt(EXTENT**2 / len(quarters.x))
    (bp, bq), side = quarters.block[k], quarters.street[k] * world.site.look.street + 2.0
    np_, nq = (max(1, int((b - 2 * side) / s)) for b, s in zip((bp, bq), use.lot))
    wp, wq = (bp - 2 * side) / np_, (bq - 2 * side) / nq
    # Streets lie at half steps of the block spacing, blocks around whole steps.
    kp, kq = int(reach / bp) + 1, int(reach / bq) + 1
    p = (np.arange(-kp, kp + 1)[:, None] * bp + (np.arange(np_) - (np_ - 1) / 2) * wp).ravel()
    q = (np.arange(-kq, kq + 1)[:, None] * bq + (np.arange(nq) - (nq - 1) / 2) * wq).ravel()
    p, q = (a.ravel() for a in np.meshgrid(p, q))
    hw = 0.5 * wp * use.fill[0] * rng.uniform(0.82 if use.fill[0] < 0.95 else 1, 1, p.size)
    hd = 0.5 * wq * use.fill[1] * rng.uniform(0.82, 1.05, p.size)
    c, s = np.cos(quarters.angle[k]), np.sin(quarters.angle[k])
    x, y = quarters.x[k] + p * c - q * s, quarters.y[k] + p * s + q * c
    px, py = _points(x, y, hw, hd, c, s)
    ok = (rng.random(p.size) > 0.07) & _fits(world, px, py, np.full(p.size, k))
    ok &= ~world.at(taken, np.clip(px, 0, EXTENT - 1), np.clip(py, 0, EXTENT - 1)).any(axis=1)
    full = np.ones(p.size)
    return {
        key: v[ok]
        for key, v in {
            "x": x,
            "y": y,
            "half_w": hw,
            "half_d": hd,
            "cos": c * full,
            "sin": s * full,
            "quarter": np.full(p.size, k),
        }.items()
    }


def _buildings(world: World, rng) -> dict[str, np.ndarray]:
    """All buildings of a site, with their heights, styles, walls and roofs."""
    quarters = world.quarters
    taken = np.zeros((N, N), bool)
    rows = [_frontage(world, rng, taken, world.main, 1.0)]
    built = np.isin(quarters.use, [USE_NAMES.index(n) for n in BUILT])
    rows += [_interior(world, rng, taken, k) for k in np.flatnonzero(built)]
    for r in rows[1:]:
        for box in zip(*(r[key] for key in ("x", "y", "half_w", "half_d", "cos", "sin"))):
            _stamp(taken, *box)
    rows += [_frontage(world, rng, taken, world.road, scale) for scale in (0.9, 0.6)]
    out = {key: np.concatenate([r[key] for r in rows]) for key in rows[0]}
    k = out["quarter"] = out["quarter"].astype(np.int32)
    m, mean = k.size, quarters.height[k]
    spread = np.where(mean > 25, 0.3, 0.15)
    out["height"] = np.maximum(2.6, mean * np.exp(rng.normal(0, 1, m) * spread))
    other = rng.choice(quarters.style[built], m) if built.any() else quarters.style[k]
    industrial = quarters.use[k] == USE_NAMES.index("industrial")
    out["style"] = np.where((rng.random(m) < 0.9) | industrial, quarters.style[k], other).astype(
        np.int32
    )
    out["height"] *= world.site.look.height
    out["style"] = world.site.look.style_of()[out["style"]].astype(np.int32)
    out["light"] = np.exp(rng.normal(0, 0.16, m))
    out["wall"] = rng.integers(0, 3, m).astype(np.int32)
    pitch = np.array([STYLES[s].pitch for s in STYLE_NAMES])[out["style"]]
    out["pitch"] = np.where(out["height"] > 20, 0, pitch)
    out["rise"] = out["pitch"] * np.minimum(np.minimum(out["half_w"], out["half_d"]), 7.0)
    out["roof"] = np.array([INDEX[STYLES[s].roof] for s in STYLE_NAMES], np.uint8)[out["style"]]
    return out


def _trees(world: World, rng) -> dict[str, np.ndarray]:
    quarters, step = world.quarters, 5.0
    m = int(EXTENT / step)
    i, j = np.meshgrid(np.arange(m), np.arange(m), indexing="ij")
    orchard = USE_NAMES.index("orchard")
    x, y = (j.ravel() + 0.5) * step, (i.ravel() + 0.5) * step
    k = world.at(world.quarter, x, y)
    loose = np.where(quarters.use[k] == orchard, 0.3, 2.4)
    x, y = x + rng.uniform(-1, 1, x.size) * loose, y + rng.uniform(-1, 1, x.size) * loose
    x, y = np.clip(x, 0, EXTENT - 0.01), np.clip(y, 0, EXTENT - 0.01)
    k = world.at(world.quarter, x, y)
    road, water = world.at(world.road, x, y), world.at(world.water, x, y)
    density = quarters.trees[k].copy()
    clump = 0.4 + 1.2 * world.at(world.light, x, y).clip(0.86, 1.14)
    wild = np.isin(quarters.use[k], [USE_NAMES.index(u) for u in ("park", "meadow", "bare")])
    density = np.where(wild, density * clump, density)
    rows = (quarters.use[k] == orchard) & (i.ravel() % 2 == 0)
    density = np.where(quarters.use[k] == orchard, np.where(rows, 0.9, 0.0), density)
    lined = quarters.street_trees[k] & (road > 1.0) & (road < 4.0)
    density = np.where(lined, 0.55, density)
    density = np.where((water > 0) & (water < 14) & ~lined, np.maximum(density, 0.12), density)
    built = np.zeros((N, N), bool)
    built[1:-1, 1:-1] = world.building[1:-1, 1:-1] >= 0
    for axis in (0, 1):
        built = built | np.roll(built, 1, axis) | np.roll(built, -1, axis)
    density = density * world.site.look.trees
    ok = (rng.random(x.size) < density) & (road > 1.0) & (water > 1.0) & ~world.at(built, x, y)
    x, y, k = x[ok], y[ok], k[ok]
    kind = np.where(rng.random(x.size) < 0.8, quarters.tree[k], quarters.tree2[k]).astype(np.uint8)
    forms = {INDEX[n]: f for n, f in TREE_FORMS.items()}
    look = np.zeros((len(MATERIALS), 3))
    for index, form in forms.items():
        look[index] = form[:3]
    size = np.exp(rng.normal(0, 0.18, x.size)) * world.site.look.crown
    small = np.where(quarters.use[k] == orchard, 0.6, 1.0)
    height = look[kind, 1] * size * small
    return {
        "x": x,
        "y": y,
        "kind": kind,
        "height": height,
        "quarter": k.astype(np.int32),
        "radius": look[kind, 0] * size * np.sqrt(small),
        "base": look[kind, 2] * height,
        "light": np.exp(rng.normal(0, 0.12, x.size)).astype(np.float32),
    }

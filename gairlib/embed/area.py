"""The area that is searched: one scene, or the part of it within a box of degrees."""

from pathlib import Path

import numpy as np
from shapely import STRtree, box

from gairlib.data import scenes
from gairlib.data.dataset import Dataset
from gairlib.data.scene import Scene, outline
from gairlib.errors import BadInput
from gairlib.geo import Box

TURNS = (-360, 0, 360)  # degrees by which a box may be drawn beside a scene
EDGE = 32  # points along each side of a box, which is no rectangle in a scene's own CRS


def scene_of(
    area: Scene | Dataset | str | Path, bounds: Box | None = None, *, remote: bool = False
) -> Scene:
    """The scene that is meant by a Scene, a raster, or a dataset folder of which one scene (within
    `bounds`) is left. remote: also take scenes of a folder's STAC items whose pixels lie on a
    server. BadInput where none or several are left, with their ids."""
    if isinstance(area, Scene):
        return area
    if not isinstance(area, Dataset) and Path(area).is_file():
        return scenes.open_scene(area)
    dataset = area if isinstance(area, Dataset) else Dataset(area, remote=remote)
    found = dataset.scenes()
    if bounds is not None:
        west, south, east, north = _checked(bounds)
        turns = [box(west + t, south, east + t, north) for t in TURNS]
        tree = STRtree([scene.footprint for scene in found])
        found = [
            found[i] for i in sorted({int(i) for t in turns for i in tree.query(t, "intersects")})
        ]
    if len(found) != 1:
        which = ", ".join(scene.id for scene in found[:5]) + ", ..." * (len(found) > 5)
        raise BadInput(
            f"{dataset.folder}: {len(found)} scenes{' in the box' if bounds else ''}"
            + (f" ({which})" if found else "")
            + "; one is needed, as by Dataset(...).scene(id)"
        )
    return found[0]


def window_of(scene: Scene, bounds: Box | None) -> tuple[int, int, int, int]:
    """(column, row, width, height) of the scene's whole pixels that hold a box; None: all of it."""
    if bounds is None:
        return 0, 0, scene.width, scene.height
    west, south, east, north = _checked(bounds)
    left, low, right, high = outline(
        scene.transform, scene.crs, scene.width, scene.height, f"scene {scene.id}"
    ).bounds  # what lies beyond it may have no place in the scene's CRS
    cuts = [(max(west + t, left), min(east + t, right)) for t in TURNS]
    west, east = max(cuts, key=lambda cut: cut[1] - cut[0])
    south, north = max(south, low), min(north, high)
    if west >= east or south >= north:
        raise BadInput(f"box {tuple(bounds)}: no part of scene {scene.id} lies in it")
    along, up = np.linspace(west, east, EDGE), np.linspace(south, north, EDGE)
    lon = np.concatenate([along, along, np.full(EDGE, west), np.full(EDGE, east)])
    lat = np.concatenate([np.full(EDGE, south), np.full(EDGE, north), up, up])
    column, row = scene.to_pixels(lon, lat)
    limits = ((column, scene.width), (row, scene.height))
    (c0, c1), (r0, r1) = (
        (max(0, int(np.floor(v.min()))), min(n, int(np.ceil(v.max())))) for v, n in limits
    )
    if c1 <= c0 or r1 <= r0:
        raise BadInput(f"box {tuple(bounds)}: no part of scene {scene.id} lies in it")
    return c0, r0, c1 - c0, r1 - r0


def _checked(bounds: Box) -> Box:
    values = np.asarray(bounds, np.float64)
    if values.shape != (4,) or not np.isfinite(values).all():
        raise BadInput(f"box {bounds!r}: (west, south, east, north) in degrees is needed")
    west, south, east, north = values.tolist()
    if not (-90 <= south < north <= 90 and -180 <= min(west, east) <= max(west, east) <= 180):
        raise BadInput(f"box {tuple(bounds)}: south < north, in degrees, are needed")
    return west, south, east + 360 * (west > east), north

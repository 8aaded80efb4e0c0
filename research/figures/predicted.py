"""What a regressor of places makes of a table: its prediction as a map, and how sure it is.

    python -m research.figures.predicted FOLDER TABLE-COLUMN FILE.webp [--rows 5000]
        [--weights FILE] [--land land.geojson] [--label "mean temperature (°C)"]

`--rows` and `--weights` are those of `research.studies.location_regressor`; `--land` holds polygons
in (lon, lat) outside which the map stays empty.
"""

import sys

import geopandas as gpd
import numpy as np
from geopandas import GeoDataFrame
from shapely import contains_xy

from gairlib import assets
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from gairlib.regress import LocationRegressor
from gairlib.weights.location import load_geoclip
from research.figures import style
from research.figures.style import Figure
from research.pipeline import command
from research.studies.location_regressor import LEVEL, drawn, questions

DPI = 80


def grid(lonlat: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres (lon [w], lat [h], north first) of square cells over the box of places [n, 2], as
    many from west to east as `cells`."""
    (west, south), (east, north) = lonlat.min(0), lonlat.max(0)
    step = max(east - west, north - south, 1e-6) / cells
    across, up = (max(int(np.ceil(x / step)), 1) for x in (east - west, north - south))
    return west + step * (np.arange(across) + 0.5), south + step * (np.arange(up)[::-1] + 0.5)


def prediction(
    regressor: LocationRegressor,
    lonlat: np.ndarray,
    y: np.ndarray,
    label: str,
    *,
    cells: int = 180,
    land: GeoDataFrame | None = None,
    synthetic: bool = False,
) -> Figure:
    """Three maps of a fitted regressor: its training rows lonlat [n, 2] with y [n], the prediction
    of every cell in the same colours, and the width of its 90% interval there.

    land: polygons in (lon, lat); cells whose centre lies outside them stay empty.
    """
    lon, lat = grid(lonlat, cells)
    places = np.stack(np.meshgrid(lon, lat), -1).reshape(-1, 2)
    asked = np.ones(len(places), bool)
    if land is not None:
        asked = contains_xy(land.union_all(), *places.T)
    value, width = np.full(len(places), np.nan), np.full(len(places), np.nan)
    if asked.any():
        ends = regressor.predict_interval(places[asked], LEVEL)
        value[asked], width[asked] = ends.mean(1), np.ptp(ends, axis=1)
    step = lon[1] - lon[0] if len(lon) > 1 else 1.0
    box = (lon[0] - step / 2, lon[-1] + step / 2, lat[-1] - step / 2, lat[0] + step / 2)
    limits = dict(zip(("vmin", "vmax"), np.quantile(y, [0.01, 0.99])))
    high = style.WIDTH * min((box[3] - box[2]) / (box[1] - box[0]), 1.5)
    with style.context():
        fig = Figure(figsize=(style.WIDTH, 3 * high + 1))
        axes = fig.subplots(3, 1)
        shown = [axes[0].scatter(*lonlat.T, c=y, s=4, lw=0, **limits)]
        for ax, values, how in ((axes[1], value, limits), (axes[2], width, {"cmap": "cividis"})):
            picture = values.reshape(len(lat), len(lon))
            shown.append(ax.imshow(picture, extent=box, **how))
        titles = (
            f"{len(y):,} rows of the table",
            "Predicted from the coordinates",
            f"Width of the {LEVEL:.0%} interval",
        )
        for ax, title, what in zip(axes, titles, shown):
            ax.set(title=title, xlim=box[:2], ylim=box[2:], aspect="equal", ylabel="latitude (°)")
            ax.grid(False)
            fig.colorbar(what, ax=ax, label=label, shrink=0.8)
        axes[2].set_xlabel("longitude (°)")
        return style.mark(fig, synthetic)


@command.one_sentence
def main(argv: list[str] | None = None) -> int:
    """The command of the module's header; returns the exit code."""
    parser = command.parser("research.figures.predicted", __doc__)
    for name in ("folder", "column", "file"):
        parser.add_argument(name)
    parser.add_argument("--rows", type=int, default=5000)
    for name in ("--weights", "--land", "--label"):
        parser.add_argument(name)
    given = parser.parse_args(argv)
    dataset = Dataset(given.folder)
    tasks = {f"{task.table}-{task.column}": task for task in questions(dataset)}
    if given.column not in tasks:
        raise BadInput(f"{given.column}: the columns of numbers are {', '.join(tasks)}")
    task = tasks[given.column]
    lonlat, y = drawn(task, dataset, given.rows)
    encoder = load_geoclip(given.weights or assets.find("geoclip").path)
    figure = prediction(
        LocationRegressor(encoder).fit(lonlat, y),
        lonlat,
        y,
        given.label or given.column,
        land=gpd.read_file(given.land) if given.land else None,
        synthetic=task.load(dataset).synthetic,
    )
    figure.savefig(given.file, dpi=DPI)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How far a photo lands from its place when it is put into a chip by its lon/lat box.

GAIR's public interface places a photo by linear interpolation between the corners of the chip's
box in degrees, in float32. A Sentinel-2 chip is a square of a UTM grid, which is turned against the
meridians (by the convergence, up to some 3 degrees at the edge of a zone at mid latitudes and more
towards the poles): its lon/lat box is larger than the chip, and places in it are off. Through the
chip's own CRS and transform (geo.chip_xy) they are not.
"""

import numpy as np
import pyproj
from affine import Affine

from gairlib import geo
from research.figures import style
from research.figures.style import Figure

STEPS = 9  # positions along each side of the chip that are tried
LATITUDES = np.linspace(-78.0, 83.0, 47)
MERIDIAN = {
    "at the zone's central meridian": 0.02,
    "half way to the zone's edge": 1.5,
    "at the zone's edge": 2.98,
}
SIZES = (640.0, 2000.0)  # metres: ours, and about what the published demo chips cover


def chip_at(lat: float, from_meridian_deg: float, chip_m: float) -> tuple[str, Affine, np.ndarray]:
    """A UTM chip of 10-m pixels, and positions spread evenly over it.

    lat: of the chip's centre, degrees in [-80, 84]. from_meridian_deg: how far east of its zone's
    central meridian (3 is the zone's edge). Returns CRS, transform of a chip of one pixel of
    chip_m metres, and (lon, lat) [STEPS * STEPS, 2].
    """
    crs = f"EPSG:{32631 if lat >= 0 else 32731}"  # central meridian 3 degrees east
    to_utm = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    east, north = to_utm.transform(3.0 + from_meridian_deg, lat)
    transform = Affine(chip_m, 0.0, east - chip_m / 2, 0.0, -chip_m, north + chip_m / 2)
    share = np.linspace(0.02, 0.98, STEPS)
    across, down = (v.ravel() for v in np.meshgrid(share, share))
    x, y = transform @ (across, down)
    return crs, transform, np.column_stack(to_utm.transform(x, y, direction="INVERSE"))


def metres_off(
    lat: float, from_meridian_deg: float, chip_m: float, single: bool = False
) -> np.ndarray:
    """Distance between a photo's place by box and its true place, metres, for each position.

    single: the interpolation in float32, as published, instead of float64.
    """
    crs, transform, lonlat = chip_at(lat, from_meridian_deg, chip_m)
    true = geo.chip_xy(lonlat, crs, transform, (1, 1))
    west, south, east, north = geo.box_of(crs, transform, (1, 1))
    kind = np.float32 if single else np.float64
    low, high = np.array([west, north], kind), np.array([east, south], kind)
    boxed = (lonlat.astype(kind) - low) / (high - low) * kind(2) - kind(1)
    return np.hypot(*((boxed.astype(np.float64) - true) * chip_m / 2).T)


def pixels_off_exact(lat: float, from_meridian_deg: float, chip_m: float) -> float:
    """Largest distance between geo.chip_xy and pyproj alone in float64, in 10-m pixels."""
    crs, transform, lonlat = chip_at(lat, from_meridian_deg, chip_m)
    xy = geo.chip_xy(lonlat, crs, transform, (1, 1))
    to_utm = pyproj.Transformer.from_pipeline(
        "+proj=pipeline +step +proj=unitconvert +xy_in=deg +xy_out=rad "
        f"+step +proj=utm +zone=31 {'+south ' if lat < 0 else ''}+ellps=WGS84"
    )
    x, y = to_utm.transform(*lonlat.T)
    place = np.column_stack([(x - transform.c) / chip_m, (transform.f - y) / chip_m])
    return float(np.hypot(*((xy + 1) / 2 - place).T).max() * chip_m / 10.0)


def box_errors() -> tuple[Figure, dict[str, float]]:
    """Error of box interpolation by latitude, and the numbers that a text needs.

    Returns the figure and {"box_median_m", "box_worst_m", "exact_worst_px", ...} over all
    latitudes, distances from the meridian and positions in a chip of 640 m.
    """
    with style.context():
        fig = Figure(figsize=(style.WIDTH, 4.4), layout="constrained")
        for ax, size in zip(axes := fig.subplots(1, 2, sharey=True), SIZES):
            for (name, degrees), colour in zip(MERIDIAN.items(), style.CYCLE):
                worst = [metres_off(a, degrees, size).max() for a in LATITUDES]
                ax.plot(LATITUDES, worst, color=colour, label=name)
            ax.axhline(10.0, color=style.GREY, ls="--", lw=1)
            ax.set(title=f"Chip of {size:,.0f} m", xlabel="latitude (degrees)")
            style.log_axis(ax.yaxis)
        axes[0].set_ylabel("largest error in a chip (metres)")
        axes[0].annotate(
            "one pixel",
            (0, 10.0),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
            color=style.BLACK,
        )
        handles, labels = axes[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside lower center", ncols=3)
    every = np.array([[metres_off(a, d, SIZES[0]) for d in MERIDIAN.values()] for a in LATITUDES])
    single = np.array(
        [[metres_off(a, d, SIZES[0], single=True) for d in MERIDIAN.values()] for a in LATITUDES]
    )
    exact = [pixels_off_exact(a, d, SIZES[0]) for a in LATITUDES for d in MERIDIAN.values()]
    numbers = {
        "box_median_m": float(np.median(every)),
        "box_worst_m": float(every.max()),
        "box_float32_median_m": float(np.median(single)),
        "exact_worst_px": float(max(exact)),
    }
    return fig, numbers

"""The view from above: a Sentinel-2-like scene of a site, in digital numbers.

Reflectance per 2.5 m cell (material, season, brightness, shadow) is averaged over the 10 m pixels
(the 20 m bands over the 20 m grid, stored on the 10 m grid by nearest neighbour), then haze,
clouds, their shadows and sensor noise are added. Scene classification (SCL) comes from the same
parts. Products of processing baseline 04.00 and later carry +1000.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from scipy.ndimage import gaussian_filter

from research.sample import spectra
from research.sample.climate import greenness, may_snow
from research.sample.layout import CELL, MARGIN, World
from research.sample.noise import grid_noise
from research.sample.sky import at_solar_hour, shadow_mask, sun_position

PIXELS = 192
_PAD = int(MARGIN / CELL)
_HAZE = np.array([0.016, 0.011, 0.007, 0.006, 0.005, 0.004, 0.004, 0.003, 0.001, 0])
_CLOUD = np.array([0.62, 0.61, 0.61, 0.62, 0.63, 0.64, 0.65, 0.65, 0.45, 0.34])


@dataclass(frozen=True)
class Scene:
    """bands: uint16 [11, 192, 192], ten bands and SCL; cover: uint8 [192, 192] land cover."""

    bands: np.ndarray
    cover: np.ndarray
    when: datetime
    baseline: str
    cloud_cover: float


def _blocks(raster: np.ndarray, size: int) -> np.ndarray:
    """Mean over size x size blocks: [n, n] -> [n/size, n/size]."""
    n = raster.shape[0] // size
    return raster.reshape(n, size, n, size).mean(axis=(1, 3), dtype=np.float32)


def scene_time(world: World) -> datetime:
    """When the scene was taken: 2018 to 2024, about 10:30 local solar time, the sun not too low."""
    site, rng = world.site, world.site.rng(world.seed, 2)
    for _ in range(50):
        day = datetime(2018, 1, 1) + timedelta(days=int(rng.integers(0, 7 * 365)))
        when = at_solar_hour(site.lon, day, 10.5 + rng.uniform(-0.3, 0.3))
        if sun_position(site.lon, site.lat, when)[0] > np.radians(24):
            break
    return when


def land_cover(world: World) -> np.ndarray:
    """uint8 [192, 192]: the class with the largest share of each 10 m pixel."""
    classes = spectra.CLASS_OF[world.top]
    b = world.buildings
    on = world.building >= 0
    kind = np.where(b["height"] >= 14, spectra.HIGH, spectra.LOW).astype(np.uint8)
    sheds = [spectra.STYLE_NAMES.index(s) for s in ("shed", "blue shed", "works")]
    shed = np.isin(b["style"], sheds)
    kind[shed & (b["half_w"] * b["half_d"] > 150)] = spectra.INDUSTRIAL
    classes[on] = kind[world.building[on]]
    classes = classes[_PAD:-_PAD, _PAD:-_PAD]
    shares = np.stack([_blocks((classes == c).astype(np.float32), 4) for c in spectra.CLASSES])
    return (shares.argmax(axis=0) + 1).astype(np.uint8)


def observe(world: World) -> Scene:
    """The scene of a site at its own date."""
    site, rng = world.site, world.site.rng(world.seed, 3)
    when = scene_time(world)
    table = spectra.seasonal(
        greenness(site, when.timetuple().tm_yday),
        bool(may_snow(site, when.month) and rng.random() < 0.6),
    )
    snowy = table[spectra.INDEX["steppe"], 0] > 0.3
    elevation, azimuth = sun_position(site.lon, site.lat, when)
    shade = shadow_mask(np.maximum(world.solid, world.canopy), elevation, azimuth)
    inside = (slice(_PAD, -_PAD), slice(_PAD, -_PAD))
    top, light, shade = world.top[inside], world.light[inside].copy(), shade[inside]
    light[spectra.CLASS_OF[top] == spectra.TREES] *= 0.92
    lit = light * np.where(shade, 0.38, 1.0)

    share = float(rng.choice([0, 0.02, 0.06, 0.12, 0.22], p=[0.55, 0.2, 0.15, 0.07, 0.03]))
    noise = 0.6 * grid_noise(rng, PIXELS + 40, 10.0, 420.0) + 0.4 * grid_noise(
        rng, PIXELS + 40, 10.0, 120.0
    )
    level = np.quantile(noise, 1 - share) if share else 2.0
    cloud = np.clip((noise - level) / 0.12, 0, 1)
    dx, dy = int(round(-14 * np.sin(azimuth))), int(round(14 * np.cos(azimuth)))
    cloud_here = cloud[20:-20, 20:-20]
    cloud_shadow = gaussian_filter(np.roll(cloud, (dy, dx), (0, 1)), 1.0)[20:-20, 20:-20]

    dn = np.zeros((11, PIXELS, PIXELS))
    haze = rng.uniform(0.3, 1.6)
    for b, band in enumerate(spectra.BANDS):
        size = 8 if band in spectra.BANDS_20M else 4
        r = _blocks(table[:, b].astype(np.float32)[top] * lit, size)
        r = gaussian_filter(r, 0.6 if size == 4 else 0.4)  # the optics' point spread
        c, s = cloud_here, cloud_shadow
        if size == 8:
            c, s = _blocks(c, 2), _blocks(s, 2)
        r = r * (1 - 0.6 * s * (1 - c)) + haze * _HAZE[b]
        r = r * (1 - c) + _CLOUD[b] * (0.75 + 0.25 * c) * c
        r = r * (1 + rng.normal(0, 0.004, r.shape)) + rng.normal(0, 0.0006, r.shape)
        dn[b] = np.repeat(np.repeat(r, 2, 0), 2, 1) if size == 8 else r
    ndvi = (dn[6] - dn[2]) / (dn[6] + dn[2] + 1e-6)
    water = (dn[7] < 0.09) & (dn[8] < 0.06) & (ndvi < 0.15)
    scl = np.select(
        [
            cloud_here > 0.65,
            cloud_here > 0.2,
            (cloud_shadow > 0.35),
            water,
            snowy & (dn[0] > 0.3),
            ndvi > 0.38,
        ],
        [9, 8, 3, 6, 11, 4],
        5,
    )
    scl = np.repeat(np.repeat(scl[::2, ::2], 2, 0), 2, 1)
    baseline = _baseline(when)
    offset = 1000 if baseline >= "04.00" else 0
    # Steps below the instrument's noise (SNR 90-170): scenes compress to about half the size.
    step = np.where(np.arange(10) < 3, 16, 32)[:, None, None]
    out = np.clip(np.rint(dn[:10] * 10000 / step), 1, 600) * step + offset
    bands = np.concatenate([out, scl[None]]).astype(np.uint16)
    cover = float(np.isin(scl, (8, 9)).mean() * 100)
    return Scene(bands, land_cover(world), when, baseline, round(cover, 2))


def _baseline(when: datetime) -> str:
    steps = [
        (datetime(2018, 11, 6), "02.06"),
        (datetime(2020, 2, 4), "02.11"),
        (datetime(2021, 3, 30), "02.14"),
        (datetime(2022, 1, 25), "03.01"),
        (datetime(2022, 12, 6), "04.00"),
        (datetime(2023, 12, 13), "05.09"),
    ]
    return next((name for end, name in steps if when < end), "05.10")

"""The sun over a site, its shadows, and the weather, light and sky of one photo."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from research.sample import spectra
from research.sample.climate import greenness, may_snow
from research.sample.layout import CELL
from research.sample.noise import fractal
from research.sample.rays import Camera
from research.sample.sites import Site


@dataclass(frozen=True)
class Air:
    """sun_vector: unit (east, south, up); direct: strength of the sun's beam; ambient, horizon,
    zenith, sun_colour: linear RGB; visibility: m; night: strength of lit windows; lamps: RGB of
    street lights; table: the day's reflectances [materials, 10]; metering: 1 evens out exposure."""

    weather: str
    lighting: str
    sun_vector: tuple[float, float, float]
    direct: float
    ambient: np.ndarray
    horizon: np.ndarray
    zenith: np.ndarray
    sun_colour: np.ndarray
    visibility: float
    clouds: float
    night: float
    lamps: float
    table: np.ndarray
    metering: float
    grain: float
    seed: int

    def sun_ahead(self, cam: Camera) -> float:
        """Share of the sun's direction along the camera's axis."""
        fx, fy = cam.forward
        return fx * self.sun_vector[0] + fy * self.sun_vector[1]

    def sun_right(self, cam: Camera) -> float:
        """Share of the sun's direction to the camera's right."""
        fx, fy = cam.forward
        return -fy * self.sun_vector[0] + fx * self.sun_vector[1]


def make_air(site: Site, when: datetime, weather: str, rng: np.random.Generator) -> Air:
    """The air at a UTC time; lighting follows from the sun: day above 5 degrees, night below -7."""
    elevation, azimuth = sun_position(site.lon, site.lat, when)
    degrees = math.degrees(elevation)
    lighting = "day" if degrees > 5 else "dusk" if degrees > -7 else "night"
    snow = weather == "snow" or (may_snow(site, when.month) and rng.random() < 0.45)
    table = spectra.seasonal(greenness(site, when.timetuple().tm_yday), snow)
    cos = math.cos(elevation)
    sun = (cos * math.sin(azimuth), -cos * math.cos(azimuth), math.sin(elevation))
    clear = weather == "clear"
    low = math.exp(-max(degrees, 0) / 9.0)  # reddening near the horizon
    sun_colour = np.array([1.0, 0.96 - 0.35 * low, 0.88 - 0.62 * low])
    grey = {"clear": 0.0, "cloudy": 0.75, "rain": 1.0, "fog": 1.0, "snow": 1.0}[weather]
    blue = np.array([0.16, 0.34, 0.72])
    pale = np.array([0.62, 0.72, 0.82])
    overcast = np.array([0.66, 0.68, 0.70]) * {"rain": 0.7, "fog": 1.0, "snow": 1.05}.get(
        weather, 0.9
    )
    zenith, horizon = (1 - grey) * blue + grey * overcast * 0.9, (1 - grey) * pale + grey * overcast
    if lighting == "dusk":
        rose = np.array([0.85, 0.45, 0.25]) if clear else np.array([0.38, 0.36, 0.40])
        fade = np.clip((degrees + 9) / 14, 0.12, 1)
        zenith = zenith * 0.3 * fade
        horizon = (0.45 * horizon + 0.55 * rose) * 0.6 * fade
    elif lighting == "night":
        zenith, horizon = np.array([0.006, 0.008, 0.018]), np.array([0.03, 0.026, 0.028])
    direct = {"clear": 1.6, "cloudy": 0.35}.get(weather, 0.0)
    if lighting == "dusk":
        direct *= 0.3 if degrees > 0 else 0
    elif lighting == "night":
        direct = 0.0
    ambient = 0.55 * zenith + 0.45 * horizon
    ambient = ambient * (1.0 if grey else 0.75) + (0.01 if lighting == "night" else 0)
    visibility = {"clear": 2600, "cloudy": 1800, "rain": 620, "fog": 75, "snow": 280}[weather]
    dark = {"day": 0.0, "dusk": 0.35, "night": 0.9}[lighting]
    return Air(
        weather=weather,
        lighting=lighting,
        sun_vector=sun,
        direct=direct,
        ambient=ambient,
        horizon=horizon,
        zenith=zenith,
        sun_colour=sun_colour,
        visibility=visibility * math.exp(rng.normal(0, 0.3)),
        clouds={"clear": rng.uniform(0, 0.3), "cloudy": rng.uniform(0.55, 0.9)}.get(weather, 0.0),
        night=dark,
        lamps={"day": 0.0, "dusk": 0.12, "night": 0.5}[lighting],
        table=table,
        metering={"day": 0.75, "dusk": 0.55, "night": 0.35}[lighting],
        grain={"day": 0.008, "dusk": 0.014, "night": 0.022}[lighting],
        seed=int(rng.integers(2**30)),
    )


def sky_colour(air: Air, u: np.ndarray, v: np.ndarray, cam: Camera) -> np.ndarray:
    """Linear RGB [..., 3] of the sky at view slopes u (right) and v (up, at least 0)."""
    rise = v / np.sqrt(1 + u * u + v * v)
    blend = np.clip(rise * 1.6, 0, 1)[..., None] ** 0.6
    sky = air.horizon * (1 - blend) + air.zenith * blend
    dx, dy = cam.directions(u)
    if air.clouds > 0 and air.lighting != "night":
        far = 1.0 / np.maximum(v, 0.03)
        puff = fractal(dx * far, dy * far, 1.7, air.seed)
        share = np.clip((puff - (0.72 - 0.45 * air.clouds)) / 0.16, 0, 1) * np.clip(v * 9, 0, 1)
        white = 0.55 * air.horizon + 0.12 * air.ambient
        white = white + 0.5 * air.sun_colour * min(air.direct, 1.0)
        dull = 1.0 - 0.35 * air.clouds * np.clip(puff * 1.4 - 0.3, 0, 1)
        sky = sky * (1 - share[..., None]) + (white * dull[..., None]) * share[..., None]
    length = np.sqrt(1 + u * u + v * v)
    s = air.sun_vector
    near = np.clip((dx * s[0] + dy * s[1] + v * s[2]) / length, 0, 1)
    halo = 0.35 * near**12 + 3.0 * near**900
    if air.weather == "clear" and air.lighting != "night":
        sky = sky + (halo * min(air.direct + 0.2, 1))[..., None] * air.sun_colour
    return sky


# ---------------------------------------------------------------------------------- the sun


def sun_position(lon: float, lat: float, when: datetime) -> tuple[float, float]:
    """(elevation, azimuth) in radians, azimuth clockwise from north; to about a degree.
    `when` is UTC. The equation of time is left out."""
    day = when.timetuple().tm_yday
    tilt = math.radians(23.44) * math.sin(2 * math.pi * (day - 80) / 365.0)
    hour = math.radians(15.0 * (when.hour + when.minute / 60 + lon / 15 - 12))
    phi = math.radians(lat)
    up = math.sin(phi) * math.sin(tilt) + math.cos(phi) * math.cos(tilt) * math.cos(hour)
    east = -math.cos(tilt) * math.sin(hour)
    north = math.cos(phi) * math.sin(tilt) - math.sin(phi) * math.cos(tilt) * math.cos(hour)
    return math.asin(max(-1.0, min(1.0, up))), math.atan2(east, north) % (2 * math.pi)


def at_solar_hour(lon: float, day: datetime, hour: float) -> datetime:
    """UTC time of a local solar hour on a day, whole minutes."""
    minutes = round((hour - lon / 15.0) * 60)
    return datetime(day.year, day.month, day.day) + timedelta(minutes=minutes)


def shadow_mask(height: np.ndarray, elevation: float, azimuth: float) -> np.ndarray:
    """Which cells lie in shadow: bool, the shape of `height` (m on the 2.5 m grid)."""
    reach = min(float(height.max()) / max(math.tan(elevation), 0.05), 260.0)
    di, dj = -math.cos(azimuth), math.sin(azimuth)  # rows grow to the south
    shade = np.zeros(height.shape, bool)
    n, m = height.shape
    for k in range(1, int(reach / CELL) + 1):
        i, j = round(k * di), round(k * dj)
        drop = k * CELL * math.tan(elevation)
        a = slice(max(0, -i), n - max(0, i)), slice(max(0, -j), m - max(0, j))
        b = slice(max(0, i), n - max(0, -i)), slice(max(0, j), m - max(0, -j))
        shade[a] |= height[b] - drop > height[a] + 0.5
    return shade

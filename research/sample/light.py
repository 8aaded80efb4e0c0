"""The sun over a site: where it stands, when it stands there, and the shadows it casts."""

import math
from datetime import datetime, timedelta

import numpy as np

from research.sample.layout import CELL


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

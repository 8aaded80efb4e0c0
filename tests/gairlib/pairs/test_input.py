"""The photo table on its way into pairing: candidate scenes, splits, reasons."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyproj
import pytest
from affine import Affine
from builders.small_files import ramp, write_scene
from builders.small_photos import SMALL, table

from gairlib import geo
from gairlib.data import scenes
from gairlib.data.scene import Scene, outline
from gairlib.pairs.input import SceneTable, count_reasons
from gairlib.pairs.pairing import pair


def test_nearest_scene_in_time_then_the_clearest(tmp_path):
    def make(name, when, cloud):
        path = write_scene(tmp_path / f"{name}.tif", ramp(10, 64, 64))
        row = {"processing_baseline": "3.0", "cloud_cover": cloud, "datetime": when}
        return scenes.open_scene(path, row=row)

    made = [
        make("may", "2021-05-03T10:00:00Z", "40"),
        make("july", "2021-07-01T10:00:00Z", "1"),
        make("undated", None, "0"),
    ]
    street = table(
        [30, 31, 32],
        [30, 31, 32],
        captured_at=[
            "2021-05-20T08:00:00Z",
            None,
            str(int(pd.Timestamp("2021-06-28", tz="UTC").value // 10**6)),
        ],
    )
    manifest = pair(street, made, **SMALL).manifest.set_index("photo_id")
    assert manifest["scene_id"].to_dict() == {"p000": "may", "p001": "undated", "p002": "july"}
    assert manifest.loc["p000", "date_gap_days"] == pytest.approx(16 + 22 / 24)
    assert np.isnan(manifest.loc["p001", "date_gap_days"])


def test_reasons_are_counted_by_kind():
    reasons = pd.Series(
        [
            "lon 200.1, lat 3.0: not a position; lon is in [-180, 180], lat in [-90, 90]",
            "lon 9, lat 99.0: not a position; lon is in [-180, 180], lat in [-90, 90]",
            "street/a.jpg: the image is damaged or cut short (4 bytes)",
            "street/b.jpg: the image is damaged or cut short (9 bytes)",
            "path '../x' leaves the folder",
            "path '/y' leaves the folder",
        ]
    )
    assert count_reasons(reasons) == {
        "not a position; lon is in [-180, 180], lat in [-90, 90]": 2,
        "the image is damaged or cut short": 2,
        "path '...' leaves the folder": 2,
    }


def test_candidate_scenes_agree_with_trying_every_scene():
    rng = np.random.default_rng(2)
    found = []
    for i, (zone, x) in enumerate([(60, 770_000), (1, 160_000), (31, 400_000), (31, 405_000)]):
        t = Affine(10, 0, x, 0, -10, 1_000_000)
        crs = f"EPSG:{32600 + zone}"
        found.append(
            Scene(
                f"s{i}",
                Path("s.tif"),
                crs,
                t,
                1000,
                1000,
                tuple(range(1, 11)),
                "named",
                0,
                "stac",
                cloud_cover=10.0 - i,
                footprint=outline(t, crs, 1000, 1000),
            )
        )
    lon, lat = [], []
    for s in found:
        for _ in range(50):
            a, b = s.to_lonlat(rng.uniform(-200, 1200), rng.uniform(-200, 1200))
            lon.append(geo.wrap_lon(float(a)))
            lat.append(float(b))
    lon, lat = np.array(lon), np.array(lat)
    photo, scene = SceneTable.of(found).candidates(lon, lat, np.full(len(lon), np.nan))
    for i in range(len(lon)):
        inside = []
        for k, s in enumerate(found):
            to = pyproj.Transformer.from_crs("EPSG:4326", s.crs, always_xy=True)
            x, y = to.transform(lon[i], lat[i])
            if 0 <= (x - s.transform.c) / 10 <= 1000 and 0 <= (s.transform.f - y) / 10 <= 1000:
                inside.append(k)
        inside.sort(key=lambda k: found[k].cloud_cover)
        # Outlines are a hair wider than the scenes: a photo just outside is told apart on the grid.
        near = [k for k in scene[photo == i].tolist() if k not in inside]
        assert [k for k in scene[photo == i].tolist() if k in inside] == inside
        for k in near:
            column, row = found[k].to_pixels(lon[i], lat[i])
            assert -3 < column < 1003 and -3 < row < 1003

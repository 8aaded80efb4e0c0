"""A folder of street photos in areas, generated: what is known of an area is in its photos' red."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

AREAS, PHOTOS, SIDE = 60, 3, 16


def folder(root: Path, **columns) -> pd.DataFrame:
    """Writes street.csv, photos and areas.csv, and returns the rows of areas.csv: area_id with a
    leading zero, `income` (a straight line of the mean red of the area's photos), `noise`, `north`
    (its latitude). Areas lie 0.3 degrees apart in 6 rows of 10; photos of one area differ."""
    (root / "street").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows, areas = [], []
    for k in range(AREAS):
        lon, lat = 10 + 0.3 * (k % 10), 45 + 0.3 * (k // 10)
        reds = np.clip(rng.uniform(60, 200) + rng.integers(-50, 51, PHOTOS), 0, 255).astype(int)
        name = f"0{600 + k}"
        for i, red in enumerate(reds):
            path = f"street/{name}-{i}.png"
            other = rng.integers(40, 90, 2)
            Image.new("RGB", (SIDE, SIDE), (int(red), *map(int, other))).save(root / path)
            at = {"lon": lon + 0.01 * (i - 1), "lat": lat + 0.01 * (i - 1)}
            rows.append({"photo_id": f"{name}-{i}", "path": path, **at, "area_id": name})
        areas.append(
            {
                "area_id": name,
                "income": 20_000 + 150 * reds.mean(),
                "noise": rng.normal(),
                "north": lat,
            }
        )
    order = rng.permutation(len(rows))
    pd.DataFrame(rows).iloc[order].to_csv(root / "street.csv", index=False)
    table = pd.DataFrame(areas).assign(**columns)
    table.to_csv(root / "areas.csv", index=False)
    return table

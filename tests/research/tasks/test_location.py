"""Location tables as tasks: classes with rows enough, blocks enough."""

import numpy as np
import pandas as pd

from gairlib.data.dataset import Dataset
from research.tasks import registry


def test_location_restricts_to_classes_with_enough_rows_and_says_so(folder):
    rng = np.random.default_rng(1)
    country = np.repeat(["Chile", "Ghana", "Fiji"], [40, 35, 6])
    pd.DataFrame(
        {"lon": rng.uniform(-180, 180, 81), "lat": rng.uniform(-60, 60, 81), "country": country}
    ).to_csv(folder / "tables/towns.csv", index=False)
    data = registry.get("location-towns-country", Dataset(folder)).load(Dataset(folder))
    assert set(data.labels) == {"Chile", "Ghana"} and len(data.inputs) == 75
    assert "2 of 3 classes" in data.notes[0] and "75 of 81" in data.notes[0]
    assert [s.name for s in data.schemes] == ["random, 5 folds", "10° blocks, 5 folds"]
    assert data.synthetic  # the tiny dataset says so, and lists no real tables

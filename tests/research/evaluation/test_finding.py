"""The most similar cell for a photo, against the distance that it was put at."""

import numpy as np
import pytest
from builders.field_scenes import write_scene

from gairlib import geo
from gairlib.embed.field import Field
from gairlib.errors import BadInput
from research.evaluation import finding


def test_the_most_similar_cell_and_what_a_guess_would_give(tmp_path, monkeypatch):
    scene = write_scene(tmp_path / "a.tif")
    valid = np.ones((40, 60), bool)
    field = Field(np.zeros((40, 60, 2)), valid, scene.transform, (10, 20, 60, 40), scene, "nili")
    lon, lat = field.centres()
    similarity = np.zeros(valid.shape)
    similarity[7, 5] = 1.0
    found = finding.find(field, similarity, lon[7, 15], lat[7, 15])
    assert abs(found.error_m - 100.0) < 0.6 and found.cosine == 1.0
    assert 100 < found.guess_m < 600
    every = geo.haversine(np.stack([lon, lat], -1), np.array([lon[7, 15], lat[7, 15]]))
    assert found.guess_m == np.median(every)  # of a small field, all cells
    monkeypatch.setattr(finding, "FEW_CELLS", 100)  # of a large one, an even selection
    thin = finding.find(field, similarity, lon[7, 15], lat[7, 15])
    assert thin.error_m == found.error_m and abs(thin.guess_m / found.guess_m - 1) < 0.05
    assert finding.find(field, np.full(valid.shape, 0.5), lon[7, 15], lat[7, 15]) is None
    with pytest.raises(BadInput, match="no cell with data"):
        finding.find(field, np.full(valid.shape, np.nan), 141, 36)

"""The exploration notebook's choices of scene and photo, and its numbers."""

import numpy as np
import pytest

from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from gairlib.pairs.pairing import pair
from research.evaluation.finding import Finding
from research.maps import explore


@pytest.fixture(scope="module")
def dataset(tiny):
    return Dataset(tiny)


@pytest.fixture(scope="module")
def manifest(dataset):
    photos, scenes = dataset.photo_table(), dataset.scenes()
    root = dataset.folder
    return pair(photos, scenes, photos_root=root, chip_px=32, chip_m=320.0, progress=False).manifest


def test_choices_of_scene_and_photo(manifest, dataset):
    assert explore.choose_scene(dataset, manifest).id == "perth"  # the test site
    assert explore.choose_scene(dataset, manifest[manifest["split"] != "test"]).id == "bern"
    assert explore.choose_scene(dataset, manifest.iloc[:0]).id == "bern"
    assert explore.choose_scene(dataset, manifest, "quito").id == "quito"
    with pytest.raises(BadInput, match="no scene 'rome'"):
        explore.choose_scene(dataset, manifest, "rome")
    photos = explore.scene_photos(manifest, dataset.scene("perth"))
    assert len(photos) == 12 and photos["photo_id"].is_unique
    assert explore.choose_photo(photos, "perth-03") == 3
    assert explore.choose_photo(photos, seed=1) == explore.choose_photo(photos, seed=1)
    assert explore.choose_photo(photos.iloc[:0]) is None
    with pytest.raises(BadInput, match="12 paired photos"):
        explore.choose_photo(photos, "bern-00")


def test_a_summary_is_a_median_with_its_interval_from_ten_photos_on():
    class Stub:
        valid = np.ones((4, 5), bool)

    assert explore.summary([], Stub, None) == {"photos": 0, "field_cells": 20}
    for errors in ([10.0, 20.0, 30.0] * 9, [10.0, 900.0] * 13):
        findings = [Finding(0, 0, 0.5, e, 300.0) for e in errors]
        numbers = explore.summary(findings, Stub, 0)
        low, middle, high = (numbers[f"median_error{end}_m"] for end in ("_low", "", "_high"))
        assert low <= middle == np.median(errors) <= high and numbers["median_guess_m"] == 300.0
        assert numbers["chosen_error_m"] == errors[0]
    numbers = explore.summary(findings[: explore.FEW - 1], Stub, None)
    assert "median_error_low_m" not in numbers and "chosen_error_m" not in numbers

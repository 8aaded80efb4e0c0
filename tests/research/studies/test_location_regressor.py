"""The study of LocationRegressor on a table made here: rivals, folds, differences, the page."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from builders.small_weights import geoclip_state
from PIL import Image

from gairlib.data.dataset import Dataset
from research.evaluation import neighbours
from research.figures import predicted
from research.studies import location_regressor as study
from research.studies.block_sizes import BEGIN, END

ROWS = 80


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """tables/made.csv: 100 places over the Earth, a number that is linear on the sphere."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "tables").mkdir()
    rng = np.random.default_rng(0)
    lonlat = np.stack([rng.uniform(-180, 180, 100), rng.uniform(-60, 60, 100)], 1)
    warmth = neighbours.sphere(lonlat) @ [1.0, -2.0, 0.5] + rng.normal(size=100) / 20
    table = pd.DataFrame(lonlat, columns=["lon", "lat"]).assign(warmth=warmth)
    table.to_csv(folder / "tables" / "made.csv", index=False)
    torch.save(geoclip_state(8, 16, 12), folder / "geoclip.pth")
    (folder / "page.md").write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    return folder


@pytest.fixture(scope="module")
def rows(folder):
    out, page = folder / "rows.json", folder / "page.md"
    how = ["--weights", str(folder / "geoclip.pth"), "--rows", str(ROWS), "--bootstrap", "50"]
    assert study.main([str(folder), *how, "--out", str(out), "--page", str(page)]) == 0
    return pd.DataFrame(json.loads(out.read_text()))


def test_every_encoder_answers_in_both_splits(rows):
    assert set(rows["task"]) == {"made-warmth"} and (rows["n"] == ROWS).all()
    assert list(rows["split"].unique()) == ["random, 5 folds", "10° blocks, 5 folds"]
    known = {study.NAME, study.RIDGE, *neighbours.NEIGHBOURS}
    assert all(set(group["encoder"]) == known for _, group in rows.groupby("split"))


def test_differences_are_the_regressors_lead(rows):
    for _, group in rows.groupby("split"):
        by = group.set_index("encoder")
        lead = by.loc[study.NAME, "r2"] - by["r2"]
        np.testing.assert_allclose(by["difference"], lead, atol=1e-4)
        assert by["coverage"].notna().sum() == 1 and by.loc[study.NAME, "coverage"] > 0.7


def test_the_page_keeps_what_stands_around_the_tables(rows, folder):
    text = (folder / "page.md").read_text()
    assert text.startswith("before") and text.endswith("after\n") and "old" not in text
    assert text.count("| made-warmth | 80 |") == 2


def test_a_prediction_is_drawn(folder):
    picture = folder / "map.png"
    how = ["--weights", str(folder / "geoclip.pth"), "--rows", str(ROWS)]
    assert predicted.main([str(folder), "made-warmth", str(picture), *how]) == 0
    with Image.open(picture) as image:
        assert image.width == 8 * predicted.DPI
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 100
    assert predicted.main([str(folder), "made-depth", str(picture), *how]) == 1


def test_cells_are_square_and_cover_the_places():
    lon, lat = predicted.grid(np.array([[0.0, 10.0], [20.0, 15.0]]), 40)
    assert len(lon) == 40 and len(lat) == 10 and lat[0] > lat[-1]
    np.testing.assert_allclose([np.diff(lon), -np.diff(lat)[:1].repeat(39)], 0.5)


def test_a_missing_file_ends_with_a_sentence(folder, capsys):
    assert study.main([str(folder), "--weights", str(folder / "none.pth")]) == 1
    assert "none.pth" in capsys.readouterr().err


def test_the_folder_is_a_dataset(folder):
    assert [task.column for task in study.questions(Dataset(folder))] == ["warmth"]


def test_a_folder_without_numbers_is_named(folder, tmp_path, capsys):
    assert study.main([str(tmp_path), "--weights", str(folder / "geoclip.pth")]) == 1
    assert str(tmp_path) in capsys.readouterr().err

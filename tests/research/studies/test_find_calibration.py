"""The mass near the truth, what places promise and hold, and the temperature of validation maps."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from affine import Affine
from builders.small_models import SMALL
from builders.small_run import small_pairs

from gairlib import GAIR
from gairlib.errors import BadInput
from research.figures import reliability
from research.studies import find_calibration as study
from research.studies.block_sizes import BEGIN, END

CRS = "EPSG:32633"


def one_map(cosine, row, column):
    """A map of 10 m cells on the ground of UTM zone 33, taken in one of them."""
    place = Affine(10, 0, 500_000, 0, -10, 5_800_000)
    down, across = np.mgrid[: cosine.shape[0], : cosine.shape[1]]
    off = 10.0 * np.hypot(down - row, across - column)
    off[np.isnan(cosine)] = np.inf
    field = SimpleNamespace(scene=SimpleNamespace(crs=CRS), transform=place)
    x, y = place @ (column + 0.5, row + 0.5)
    lon, lat = study.likely.transformer(CRS, "EPSG:4326").transform(x, y)
    return study.Map(cosine, field, off, SimpleNamespace(lon=lon, lat=lat))


def test_the_mass_is_what_a_loop_over_cells_finds():
    cosine = np.random.default_rng(0).uniform(-1, 1, (60, 70))
    cosine[:5] = np.nan
    found = one_map(cosine, 20, 30)
    near = total = 0.0
    for (i, j), value in np.ndenumerate(cosine):
        if np.isfinite(value):
            total += np.exp(value / 0.2)
            near += np.exp(value / 0.2) * (10 * np.hypot(i - 20, j - 30) <= study.RADIUS)
    assert found.mass(0.2) == pytest.approx(near / total)
    assert found.mass(1e6) == pytest.approx(found.near.sum() / np.isfinite(cosine).sum(), rel=1e-4)


def drawn(temperature, count=150, seed=0):
    """Maps whose truths are drawn by their own softmax."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        cosine = np.kron(rng.uniform(-1, 1, (3, 3)), np.ones((34, 34)))
        shares = one_map(cosine, 0, 0).shares(temperature)
        at = rng.choice(cosine.size, p=shares.ravel())
        found.append(one_map(cosine, *np.unravel_index(at, cosine.shape)))
    return found


def test_the_temperature_is_that_by_which_the_truths_were_drawn():
    assert study.fit_temperature(drawn(0.3)) == pytest.approx(0.3, rel=0.25)


def test_places_hold_what_they_promise_and_no_more():
    found = drawn(0.3, count=50, seed=1)
    gaps = {}
    for temperature in (0.3, 0.05):
        stated, held = (np.concatenate(v) for v in zip(*(m.places(temperature) for m in found)))
        sites = np.repeat([str(i) for i in range(len(found))], len(stated) // len(found))
        rows = study.reliability(stated, held, sites[: len(stated)])
        assert sum(row["places"] for row in rows) == len(stated)
        off = [r["places"] * abs(r["stated"] - r["found"][0]) for r in rows]
        gaps[temperature] = sum(off) / len(stated)
    assert gaps[0.3] < 0.05 < gaps[0.05]


def test_the_command_writes_numbers_and_a_page(tiny, tmp_path, capsys, monkeypatch):
    small_pairs(tiny, tmp_path / "pair")
    GAIR(SMALL).save_pretrained(tmp_path / "model")
    rows = pd.read_parquet(tmp_path / "pair/manifest.parquet")
    sites = rows["scene_id"].unique()
    rows["split"] = np.where(rows["scene_id"] == sites[0], "val", "test")
    one = study.one_a_photo
    monkeypatch.setattr(study, "one_a_photo", lambda _, split: one(rows, split))
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n{BEGIN}\n{END}\n")
    out = tmp_path / "found.json"
    given = [str(tiny), "--pairs", str(tmp_path / "pair"), "--checkpoint", str(tmp_path / "model")]
    given += ["--chip-px", "32", "--chip-m", "320", "--out", str(out), "--page", str(page)]
    assert study.main(given) == 0
    found = json.loads(out.read_text())
    assert found["photos"] == (rows["split"] == "test").groupby(rows["photo_id"]).any().sum()
    assert found["validation_photos"] + found["photos"] == rows["photo_id"].nunique()
    for one_t in found["temperatures"].values():
        assert 0 < one_t["mass"][0] <= 1 and one_t["bins"]
    assert study.FITTED in page.read_text() and study.FITTED in capsys.readouterr().out
    labels = {text.get_text() for text in reliability.diagram(found).axes[0].get_legend().texts}
    assert len(labels) == 2
    with pytest.raises(BadInput, match="no photos of split val"):
        monkeypatch.setattr(study, "one_a_photo", lambda _, s: one(rows, s)[:0])
        study.measure(GAIR(SMALL), study.Dataset(tiny), tmp_path / "pair")

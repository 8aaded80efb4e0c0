"""The study of real street photos on pictures made here, and what the real ones give."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from sklearn.kernel_ridge import KernelRidge

from research.studies import street_photos as study

REAL = Path(__file__).resolve().parents[4] / "shared/real-more/specs"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """30 photos of three cities; each city has a colour, and scores grow with brightness."""
    folder, rng = tmp_path_factory.mktemp("specs"), np.random.default_rng(0)
    rows = []
    for i in range(30):
        bright = rng.uniform(60, 200)
        pixels = rng.normal(bright, 20, (48, 64, 3))
        pixels[..., i % 3] += 50
        path = f"{i}.jpg"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / path)
        lon, lat = [(9.0, 49.0), (-72.0, 43.0), (104.0, 1.0)][i % 3]
        scores = {a: bright / 20 + rng.normal() / 10 for a in study.ATTRIBUTES}
        row = {"path": path, "city": "abc"[i % 3], "lon": lon + i / 1e4, "lat": lat}
        rows.append(row | scores)
    pd.DataFrame(rows).to_csv(folder / "scores.csv", index=False)
    pd.DataFrame(rows).to_csv(folder / "street.csv", index=False)
    torch.manual_seed(1)
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    torch.save(state, folder / "tf_efficientnet_lite0.pth")
    return folder


def test_colours_tell_what_is_colour_and_the_tables_say_all(folder, capsys):
    out = folder / "rows.json"
    how = ["--weights", str(folder / "tf_efficientnet_lite0.pth"), "--sizes", "32"]
    found = ["--specs", str(folder), "--street", str(folder), "--out", str(out)]
    assert study.main([*found, *how]) == 0
    made = json.loads(out.read_text())
    rows = {row["encoder"]: row for row in made["specs"]}
    names = {f"{n}, 32 px, {k}" for n in ("ImageNet", "untrained") for k in ("pooled", "depths")}
    assert rows.keys() == names | {study.COLOUR, study.CHOSEN}
    colours = rows[study.COLOUR]
    assert colours["city"][0] > 0.9 and colours["mean"][0] > 0.9 and colours["n"] == 30
    assert colours["mean"][1] < colours["mean"][0] < colours["mean"][2]
    assert colours["mean_ahead_of_colours"][0] == 0
    assert rows[study.CHOSEN]["mean"][0] > 0.8  # chosen inside the training rows
    near, far = (
        {r["encoder"]: r for r in made["places"] if r["gallery"].startswith(g)}
        for g in ("all", "further")
    )
    assert near[study.COLOUR]["within_25_km"][0] > 0.9 > near["a random one"]["within_25_km"][0]
    assert all(row["within_25_km"][0] == 0 for row in far.values())
    assert all(row["places"] == 3 and row["n"] == 30 for row in far.values())
    assert "| colours |" in capsys.readouterr().out


def test_the_path_of_penalties_equals_ridge_on_centred_features():
    rng = np.random.default_rng(1)
    x, y, z = rng.normal(size=(12, 5)), rng.normal(size=(12, 2)), rng.normal(size=(4, 5))
    k = study.kernel([np.concatenate([x, z])], np.arange(12), np.arange(12, 16))
    mean, spread = x.mean(0), x.std(0)
    a, b = (x - mean) / spread, (z - mean) / spread
    for penalty, found in zip(study.PENALTIES, study.ridge_path(k, y)):
        want = KernelRidge(alpha=penalty * 5).fit(a, y - y.mean(0)).predict(b) + y.mean(0)
        np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e-8)


def test_a_table_without_scores_is_refused(folder, tmp_path, capsys):
    pd.DataFrame({"path": ["a.jpg"], "city": ["a"]}).to_csv(tmp_path / "scores.csv", index=False)
    weights = ["--weights", str(folder / "tf_efficientnet_lite0.pth")]
    assert study.main(["--specs", str(tmp_path), *weights]) == 1
    said = capsys.readouterr().err
    assert "scores.csv" in said and "safe" in said


@pytest.mark.skipif(not REAL.is_dir(), reason="shared/real-more is not there")
def test_the_real_table_is_read():
    from gairlib.data import table_files

    frame, reasons = table_files.read(REAL / "scores.csv", ("path", "city", *study.ATTRIBUTES))
    assert len(frame) == 60 and reasons.isna().all() and frame["city"].nunique() == 5
    assert frame[list(study.ATTRIBUTES)].to_numpy(float).std() > 0.5

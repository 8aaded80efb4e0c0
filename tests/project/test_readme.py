"""The code that README shows runs as it stands, on a generated dataset and untrained weights."""

import re
import shutil
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from gairlib import GAIR, GAIRConfig, geo
from gairlib.data import scenes
from gairlib.data.dataset import Dataset
from gairlib.embed import encode

ROOT = Path(__file__).resolve().parents[2]


def test_the_lines_that_embed_a_chip_and_a_photo(tiny, tmp_path, monkeypatch, capsys):
    """They print what the library's own readers of whole tables give for that chip and photo."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    dataset = Dataset(tiny)
    row = dataset.street().query("photo_id == 'bern-02'").iloc[:1]
    lonlat = row[["lon", "lat"]].to_numpy(float)
    scene = next(s for s in dataset.scenes() if s.id == "bern")
    shutil.copy(scene.path, tmp_path / "scene.tif")
    shutil.copy(tiny / row["path"].iat[0], tmp_path / "photo.jpg")
    GAIR(GAIRConfig()).save_pretrained(tmp_path / "outputs/pretrain/model")
    monkeypatch.chdir(tmp_path)
    assert code.count("[[7.4474, 46.9480]]") == 1
    code = code.replace("[[7.4474, 46.9480]]", repr(lonlat.tolist())).replace("640.0", "320.0")
    exec(compile(code, "README.md", "exec"), {})
    printed = [float(v) for v in capsys.readouterr().out.split()[-3:]]

    model = GAIR.from_pretrained(tmp_path / "outputs/pretrain/model")
    column, line = scene.to_pixels(*lonlat[0])
    chip, transform = scenes.read_chip(scene, column, line, size_px=64, size_m=320.0)
    xy = geo.chip_xy(lonlat, scene.crs, transform, chip.shape[1:])
    local = encode.local(model, chip[None], [0], xy)[0]
    photo = encode.photos(model, dataset, row)[0]
    place = encode.locations(model, lonlat)[0]
    local /= np.linalg.norm(local)
    np.testing.assert_allclose(printed, [local @ photo, place @ photo, local @ place], atol=1e-5)


def test_the_tree_names_what_is_there_and_nothing_else():
    tree = (ROOT / "README.md").read_text().split("## The tree")[1].split("## ")[0]
    notebooks = set(re.findall(r"\b\d\d-[a-z-]+\b", tree))
    assert notebooks == {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    named = re.findall(r"(?<![.\w])(?:[a-z_]+\*?\.py|[a-z_]+/)", tree)
    there = {path.name + "/" * path.is_dir() for path in (ROOT / "gairlib").iterdir()}
    there -= {"__init__.py", "__pycache__/"}
    assert not [name for name in there if not any(fnmatch(name, one) for one in named)]
    folders = {"notebooks/", "gairlib/", "data/", "ablation/", "presets/", "metrics/", "tests/"}
    assert not [one for one in named if not any(fnmatch(name, one) for name in there | folders)]

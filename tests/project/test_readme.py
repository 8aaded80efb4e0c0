"""The code that README shows runs as it stands, on a generated dataset and untrained weights."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

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


def test_the_tree_names_the_folders_of_both_packages():
    tree = (ROOT / "README.md").read_text().split("## Two packages")[1].split("```")[1]
    parent, named = "", set()
    for line in tree.strip().splitlines():
        folders = re.match(r"\s*((?:\w+/ ?)+)", line)[1].split()
        if not line.startswith(" "):
            (parent,) = folders
            named.add(parent.rstrip("/"))
        else:
            named |= {f"{parent}{folder}".rstrip("/") for folder in folders}
    packages = [
        p.parent for one in ("gairlib", "research") for p in ROOT.glob(f"{one}/**/__init__.py")
    ]
    there = {str(p.relative_to(ROOT)) for p in packages if len(p.relative_to(ROOT).parts) <= 2}
    assert named == there | {"notebooks"}
    assert (ROOT / "notebooks").is_dir()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "MODEL_CARD.md"])
def test_links_lead_to_files(page):
    """`make docs` checks the pages of docs/."""
    links = re.findall(r"\]\(([^)#]+)", (ROOT / page).read_text())
    assert not [link for link in links if "://" not in link and not (ROOT / link).exists()]


def test_paths_in_the_documents_exist():
    """Files of the repository between backticks; those in the log are of their day."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")]
    for page in [*pages, *ROOT.glob("docs/api/*.md")]:
        paths = re.findall(
            r"`((?:gairlib|research|tests|notebooks|presets|docs)/[^`]*)`", page.read_text()
        )
        assert not [path for path in paths if not (ROOT / path).exists()], page

"""The code that README shows runs as it stands, on a generated dataset and untrained weights."""

import re
import shutil
from pathlib import Path

from gairlib import GAIR, GAIRConfig

ROOT = Path(__file__).resolve().parents[1]


def test_the_lines_that_embed_a_chip_and_a_photo(tiny, tmp_path, monkeypatch, capsys):
    code, = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    (tmp_path / "data").symlink_to(tiny)
    shutil.copy(next((tiny / "street").glob("bern-*.jpg")), tmp_path / "photo.jpg")
    GAIR(GAIRConfig()).save_pretrained(tmp_path / "outputs/pretrain/model")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    cosines = [float(v) for v in capsys.readouterr().out.split()[-2:]]
    assert all(-1 <= c <= 1 for c in cosines)


def test_every_notebook_and_package_of_the_tree_is_there():
    tree = (ROOT / "README.md").read_text().split("## The tree")[1].split("## ")[0]
    for name in re.findall(r"\b\d\d-[a-z-]+\b", tree):
        assert (ROOT / f"notebooks/{name}.ipynb").is_file(), name
    for name in re.findall(r"\b[a-z_]+\.py\b", tree):
        assert (ROOT / "gairlib" / name).is_file(), name

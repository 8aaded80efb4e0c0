"""The examples of docs/embed.md run in their order, on a generated dataset, untrained weights."""

import json
import re
from pathlib import Path

import rasterio

from gairlib.model import GAIR

PAGE = Path(__file__).resolve().parents[2] / "docs/embed.md"


def test_the_page_runs_from_top_to_bottom(tiny, embedded, tmp_path, monkeypatch):
    model, _, _ = embedded
    chips = dict(chip_px=32, chip_m=320.0)
    trained = GAIR(model.config.replace(**chips))
    trained.load_state_dict(model.state_dict())
    trained.save_pretrained(tmp_path / "outputs/pretrain/model")
    (tmp_path / "data").symlink_to(tiny)
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.S):
        exec(compile(code, "docs/embed.md", "exec"), names)
    assert len(names["vectors"]) == 2 and set(names["like"]["kind"]) == {"chips"}
    assert set(names["about_bern"]["scene_id"]) == {"bern"} and len(names["here"])
    assert names["field"].dims == ("band", "y", "x")
    with rasterio.open("embedded/field.tif") as file:
        assert file.dtypes[0] == "int8" and file.count == 16
    quantised = json.loads(Path("embedded/field.json").read_text())["properties"]
    assert quantised["emb:quantization"]["quantized_dtype"] == "int8"

"""The worked example of docs/fit.md on a real scene: better than pixels on ground held out."""

from pathlib import Path

import pytest

import gairlib
from gairlib import GAIR
from gairlib.data import scenes

ROOT = Path(__file__).parents[3]
SHARED = ROOT.parent / "shared/real-more/aberystwyth"
MODEL = ROOT / "outputs/pretrain/model"
CLASSES = {1: "wood", 2: "grass", 3: "built or bare", 4: "water"}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the scene of Aberystwyth is not at hand")
@pytest.mark.skipif(not MODEL.is_dir(), reason="the sample's model is not at hand: make pull")
@pytest.mark.filterwarnings("ignore::gairlib.scale.OtherScale")
def test_land_cover_is_told_better_than_by_pixels():
    path = SHARED / "mosaic_from_tiles.tif"
    scene = scenes.open_scene(path, layout="s2-10", row={"scale": "0.001"})
    labels = SHARED / "sen2_20210527_aber_cls.tif"
    how = dict(names=CLASSES, chip_px=64, chip_m=640.0, most=6000)
    report = gairlib.fit(GAIR.from_pretrained(MODEL), scene, labels, **how).report
    print(report)
    assert report.scores["balanced accuracy"][0] > 0.88
    assert report.difference["accuracy"][0] > 0  # of 20,000 pixels beyond the interval: docs/fit.md
    assert abs(report.stated - report.found) < 0.05

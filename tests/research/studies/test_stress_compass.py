"""A compass that is wrong by a known amount, of models whose field reads directions."""

import json

import numpy as np
import pytest
import torch
from builders.small_run import SMALL, small_pairs
from matplotlib.figure import Figure

from gairlib import GAIR, GAIRConfig
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from gairlib.pairs import store
from research.figures import studies as figures
from research.studies.runs import Run
from research.studies.stress import curves, evaluate, findings, levels
from research.tasks import query as pair_query
from research.tasks.reading import read

WANTED = {"noise": [0, 50], "compass": [0, 20, 90, 180]}


@pytest.fixture(scope="module")
def paired(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs") / "pair"
    return small_pairs(tiny, folder, max_photos=3), folder


@pytest.fixture(scope="module")
def answered(paired, tmp_path_factory):
    """(model, answer) of an untrained model under both stresses."""
    torch.manual_seed(0)
    options = {"decoder": "cone", "decoder_options": {"channels": 4, "width": 8}}
    model = GAIR(GAIRConfig(**SMALL["model"]["changes"] | options)).eval()
    torch.nn.init.normal_(model.field.cone.last.weight)
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    dataset, pairs = paired
    values = {"data": {"folder": str(dataset.folder)}, "model": str(folder)}
    values |= {"levels": WANTED, "noise_seed": 0}
    return model, evaluate.run(values, str(pairs))


def made(paired, wanted, **columns):
    dataset, folder = paired
    pairs, scenes = store.load(folder), {s.id: s for s in Dataset(dataset.folder).scenes()}
    rows, _ = pair_query.held_out(pairs.manifest)
    rows = rows.assign(**columns)
    boxes = levels.own_boxes(pairs, rows, scenes)
    return rows, *levels.make_levels(rows, boxes, scenes, wanted)


def test_a_compass_is_off_by_what_is_said_to_either_side(paired):
    n = len(made(paired, WANTED)[0])
    heading = np.where(np.arange(n) == 2, np.nan, 350.0)
    rows, found, usable = made(paired, WANTED, heading=heading)
    assert usable["compass"].tolist() == [i != 2 for i in range(n)] and usable["noise"].all()
    turns = {}
    for level in found:
        off = (level.looks - rows["heading"] + 180) % 360 - 180
        known = off[usable["compass"]]
        assert (abs(known) == (level.value if level.stress == "compass" else 0)).all()
        assert np.isnan(off[2])
        assert level.stress != "compass" or (level.targets == found[0].targets).all()
        turns[level.stress, level.value] = known
    assert {-20.0, 20.0} == set(turns["compass", 20.0])
    with pytest.raises(BadInput, match=r"lie in 0\.\.180"):
        levels.check({"compass": [0, 270]})


def test_the_right_compass_is_the_plain_reading_and_none_is_another(answered, paired):
    model, answer = answered
    dataset, folder = paired
    pairs = store.load(folder)
    rows, label = pair_query.held_out(pairs.manifest)
    query = pair_query.gather(pairs, dataset, rows, label, model.config.sv_size)
    got = {
        (r["mode"], r["stress"], r["level"]): r["better"]
        for r in answer["ranks"]
        if r["gallery"] == "all"
    }
    assert answer["own"] == "nili"
    for compass, mode in ((True, "nili"), (False, "nili, compass unknown")):
        plain = read(model, query, compass=compass)
        cosine = plain.photos @ plain.local.T
        expected = (cosine > np.diag(cosine)[:, None] + 1e-6).sum(1).tolist()
        assert got[mode, "none", 0] == got[mode, "compass", 0] == expected
    assert got["nili", "none", 0] != got["nili, compass unknown", "none", 0]
    turned = rows["heading"].to_numpy() + 180
    query.rows = rows.assign(heading=turned)
    away = read(model, query)
    cosine = away.photos @ away.local.T
    assert got["nili", "compass", 180] == (cosine > np.diag(cosine)[:, None] + 1e-6).sum(1).tolist()
    others = {(mode, level) for mode, stress, level in got if stress == "compass"}
    assert others == {("nili", v) for v in WANTED["compass"]} | {("nili, compass unknown", 0)}


def test_metres_of_a_pixel_are_the_scenes_own(paired):
    (scene, *_) = Dataset(paired[0].folder).scenes()
    assert evaluate.pixel_size_m(scene) == pytest.approx([10, 10], rel=2e-3)


def made_up(seed, sites=8, each=12):
    """Ranks that grow by one for every 20 degrees; with no compass they are worse by three."""
    rng = np.random.default_rng(seed)
    n = sites * each
    base, rows = rng.integers(0, each, n), []
    asked = [("nili", "none", 0.0), ("nili, compass unknown", "none", 0.0)]
    asked += [("nili", "compass", v) for v in (0.0, 20.0, 180.0)]
    for mode, stress, level in [*asked, ("nili, compass unknown", "compass", 0.0)]:
        for gallery, most in (("site", each - 1), ("all", n - 1)):
            worse = 3 if mode.endswith("unknown") else level / 20
            better = np.clip(base + worse, 0, most).astype(int).tolist()
            about = {"mode": mode, "stress": stress, "level": level, "gallery": gallery}
            rows.append(about | {"better": better, "tied": [0] * n})
    return {
        "own": "nili",
        "split": "held-out sites",
        "dataset": "made up",
        "synthetic": True,
        "sites": [f"s{i // each}" for i in range(n)],
        "photos": [f"p{i}" for i in range(n)],
        "usable": {s: [True] * n for s in ("none", "compass")},
        "ranks": rows,
    }


def test_from_where_a_wrong_compass_is_worse_than_none(tmp_path):
    runs = [Run("cone", s, {}, f"cone{s}") for s in (0, 1)]
    answers = [made_up(s) for s in (0, 1)]
    result = curves.summarise({"cone": "cone"}, runs, answers, draws=200)
    part = result.compass[
        (result.compass.gallery == "site") & (result.compass.metric == "recall@10")
    ]
    share = {
        worse: np.mean(
            [np.clip(np.array(a["ranks"][0]["better"]) + worse, 0, 11) < 10 for a in answers]
        )
        for worse in (0, 1, 3, 9)
    }
    for degrees, worse in ((0.0, 0), (20.0, 1), (180.0, 9)):
        (row,) = part[part.degrees == degrees].itertuples()
        assert row.difference == pytest.approx(share[worse] - share[3])
        assert row.low <= row.difference <= row.high
    (said,) = findings.worth_of_a_compass(result)
    assert said["mode"] == "cone" and said["worse_from"] == 180 and said["gain"].startswith("+")
    result.save(tmp_path / "out", tmp_path / "stress.json")
    kept = json.loads((tmp_path / "stress.json").read_text())
    assert [x["degrees"] for x in kept["compass"]] == [0, 20, 180]
    assert kept["trained"]["cone"]["compass 180"]["difference"] < 0
    assert isinstance(figures.curves(result, "compass"), Figure)
    assert isinstance(figures.readings(result), Figure)


def test_without_a_compass_nothing_is_said_of_one(tmp_path):
    answer = made_up(0)
    answer["ranks"] = [r for r in answer["ranks"] if r["mode"] == "nili" and r["stress"] == "none"]
    result = curves.summarise({"linear": "base"}, [Run("base", 0, {}, "k")], [answer], draws=50)
    result.save(tmp_path / "out", tmp_path / "stress.json")
    assert "compass" not in json.loads((tmp_path / "stress.json").read_text())
    assert not (tmp_path / "out/compass.csv").exists() and not len(result.of("compass"))
    assert findings.worth_of_a_compass(result) == []

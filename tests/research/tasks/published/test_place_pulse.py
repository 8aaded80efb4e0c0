"""Place Pulse: votes, scores, layouts, and a probe end to end."""

import numpy as np
import pandas as pd
import pytest
from builders import small_published as small
from builders.small_models import TINY
from PIL import Image

from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from gairlib.errors import BadInput, Skipped
from gairlib.weights import official
from research.evaluation import geographic_bias
from research.figures import benchmarks as figures
from research.figures import examples as example_figures
from research.tasks import registry
from research.tasks.published import place_pulse
from research.tasks.published.place_pulse import PlacePulse
from research.tasks.task import UNUSED, Options


def naive(votes):
    """Q scores by the book: one photo at a time."""
    names = sorted({v for left, right, _ in votes for v in (left, right)})
    won = {n: [] for n in names}
    lost = {n: [] for n in names}
    ties = dict.fromkeys(names, 0)
    for left, right, choice in votes:
        if choice == "equal":
            ties[left] += 1
            ties[right] += 1
        else:
            a, b = (left, right) if choice == "left" else (right, left)
            won[a].append(b)
            lost[b].append(a)
    total = {n: len(won[n]) + len(lost[n]) + ties[n] for n in names}
    w = {n: len(won[n]) / total[n] for n in names}
    loss = {n: len(lost[n]) / total[n] for n in names}
    return {
        n: 10
        / 3
        * (
            w[n]
            + (np.mean([w[j] for j in won[n]]) if won[n] else 0)
            - (np.mean([loss[j] for j in lost[n]]) if lost[n] else 0)
            + 1
        )
        for n in names
    }, total


def test_q_scores_equal_the_formula_and_lie_in_0_to_10():
    rng = np.random.default_rng(0)
    names = np.array(list("abcdefg"))
    left, right = names[rng.integers(0, 7, (2, 200))]
    choice = np.array(["left", "right", "equal"])[rng.integers(0, 3, 200)]
    q, count = place_pulse.q_scores(left, right, choice)
    real = left != right
    expected, total = naive(list(zip(left[real], right[real], choice[real])))
    assert np.allclose(q[list(expected)], list(expected.values()))
    assert count[list(total)].tolist() == list(total.values())
    assert q.between(0, 10).all()
    q, _ = place_pulse.q_scores(["a"], ["b"], ["left"])
    assert q["a"] > 5 > q["b"]


def test_votes_become_scores_photos_and_cities(tmp_path):
    small.place_pulse(tmp_path)
    data = PlacePulse("safe").load(Dataset(tmp_path))
    assert len(data.labels) == 40 and data.cluster == "city" and len(set(data.clusters)) == 10
    order = np.argsort(data.inputs["photo_id"].to_numpy())
    inner = data.labels[order][6:-6]
    assert np.corrcoef(inner, np.arange(len(inner)))[0, 1] > 0 and data.labels.max() <= 10
    assert [s.name for s in data.schemes] == ["random, 5 folds", "cities, 5 folds"]
    train, test = data.schemes[1].folds(0)[0]
    assert not set(data.clusters[train]) & set(data.clusters[test])
    assert data.inputs["path"][0].startswith("placepulse/images/") and data.kind == "regression"
    with pytest.raises(Skipped, match="0 pictures have a score for 'lively'"):
        PlacePulse("lively").load(Dataset(tmp_path))


def test_published_scores_win_and_the_doubt_about_them_is_told(tmp_path):
    small.place_pulse(tmp_path, cities=2, qscores=True)
    data = PlacePulse("safe").load(Dataset(tmp_path))
    order = np.argsort(data.inputs["photo_id"].to_numpy())
    assert np.allclose(data.labels[order], np.linspace(1, 9, 40))
    assert data.cluster == "0.005° block" and any("by a model" in note for note in data.notes)


def test_the_other_layout_takes_positions_from_the_votes(tmp_path):
    root = small.place_pulse(tmp_path)
    votes = pd.read_csv(root / "votes.tsv", sep="\t")
    (root / "votes.tsv").unlink()
    photos = root / "final_photo_dataset"
    (root / "images").rename(photos)
    about = {}
    for path in list(photos.iterdir()):
        lat, lon, one, city = path.stem.split("_")
        about[one] = (float(lat), float(lon), city)
        path.rename(photos / f"{one}.jpg")
    table = pd.DataFrame(
        {
            "left": votes["left"],
            "right": votes["right"],
            "choice": votes["choice"],
            "study_question": "safer",
        }
    )
    table.loc[votes["study_id"] == small.STUDIES["lively"], "study_question"] = "livelier"
    for side in ("left", "right"):
        for k, name in enumerate(("lat", "long", "place_name")):
            table[f"{name}_{side}"] = [about[v][k] for v in votes[side]]
    table.to_csv(root / "votes_clean.csv", index=False)
    data = PlacePulse("safe").load(Dataset(tmp_path))
    assert len(data.labels) == 40 and data.cluster == "city"
    first = data.inputs.iloc[0]
    assert (first["lat"], first["lon"], first["city"]) == about[first["photo_id"]]


@pytest.mark.parametrize(
    "name, text, why",
    [
        ("votes.tsv", "left\tright\tstudy_id\n1\t2\tsafe\n", "votes.tsv: no column choice"),
        (
            "votes.tsv",
            "choice\tleft\tright\tstudy_id\nup\ta\tb\tsafe\n",
            "votes.tsv row 2: choice 'up'",
        ),
        (
            "qscores.tsv",
            "location_id\tstudy_id\na\tsafe\n",
            "qscores.tsv: no column trueskill.score",
        ),
        (
            "qscores.tsv",
            "location_id\tstudy_id\ttrueskill.score\na\tsafe\tmuch\n",
            "qscores.tsv row 2: score 'much'",
        ),
    ],
)
def test_bad_tables_are_named(tmp_path, name, text, why):
    root = small.place_pulse(tmp_path)
    (root / name).write_text(text)
    with pytest.raises(BadInput, match=why):
        PlacePulse("safe").load(Dataset(tmp_path))


def test_place_pulse_without_pictures_or_tables_is_an_error_and_an_empty_folder_none(tmp_path):
    (tmp_path / "placepulse").mkdir()
    assert "no folder" in PlacePulse("safe").available(Dataset(tmp_path))
    (tmp_path / "placepulse").rmdir()
    root = small.place_pulse(tmp_path)
    (root / "images").rename(tmp_path / "elsewhere")
    for make in (lambda: None, (root / "images").mkdir):  # without the folder, then with no photo
        make()
        assert PlacePulse("safe").available(Dataset(tmp_path)) is None
        with pytest.raises(BadInput, match="placepulse: no picture in images/ or final_photo_dat"):
            PlacePulse("safe").load(Dataset(tmp_path))
    (root / "votes.tsv").unlink()
    with pytest.raises(BadInput, match="placepulse: neither qscores.tsv nor votes.tsv"):
        PlacePulse("safe").load(Dataset(tmp_path))


def test_place_pulse_runs_end_to_end(tmp_path, checkpoint, monkeypatch):
    root = small.place_pulse(tmp_path, photos=40)
    Image.new("RGB", (8, 8)).save(root / "images/unknown.jpg")  # a picture without a score
    monkeypatch.setattr(official, "load_official", lambda path: encode.random_init(TINY, 3))
    monkeypatch.setattr(geographic_bias, "MIN_ROWS", 4)  # photos of each city
    weights = {"gair": str(checkpoint / "config.json")}
    result = registry.run(
        "placepulse-safe",
        Dataset(tmp_path),
        Options(checkpoint, None, seeds=2, bootstrap=50, weights=weights),
    )
    assert result.row("cities, 5 folds", "GAIR, published", "R2") is not None
    assert UNUSED not in result.notes
    assert result.regions["region"].nunique() == 10 and figures.bias(result) is not None
    assert any("the worst tenth of 10 regions" in note for note in result.notes)
    assert result.status == "ran" and result.headline["metric"] == "R2"
    assert result.headline["split"] == "cities, 5 folds" and result.headline["clusters"] == 10
    assert result.row("random, 5 folds", "colour statistics", "R2").value > 0
    assert example_figures.example(result)
    (tmp_path / "other").mkdir()
    found = registry.run("placepulse-safe", Dataset(tmp_path / "other"), Options(checkpoint, None))
    assert found.status == "skipped" and "placepulse" in found.reason

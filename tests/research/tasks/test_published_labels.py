"""GEO-Bench's classification sets and Place Pulse 2.0: labels, scores, splits, one run each."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from builders import small_published as small
from builders.small_weights import croma_shapes, random_state
from PIL import Image

from gairlib import bands
from gairlib.config import GAIRConfig
from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from gairlib.errors import BadInput, Skipped
from gairlib.weights import official
from research.evaluation import geographic_bias, stats
from research.figures import benchmarks as figures
from research.figures import examples as example_figures
from research.tasks import data as examples
from research.tasks import registry
from research.tasks.published import geobench, geobench_files, geobench_multilabel, place_pulse
from research.tasks.published.place_pulse import PlacePulse
from research.tasks.task import UNUSED, Options

TINY = GAIRConfig(
    dim=16,
    rs_size=16,
    rs_depth=1,
    rs_heads=2,
    decoder_hidden=[8],
    sv_size=16,
    sv_options=dict(img_size=16, patch_size=8, embed_dim=16, depth=1, num_heads=2),
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    encode.random_init(TINY, 7).save_pretrained(folder)
    return folder


# -------------------------------------------------------------------------------------- GEO-Bench


def test_samples_are_read_when_asked_for_and_no_pickle_is_opened(tmp_path):
    root = small.geobench(tmp_path, "m-bigearthnet")
    samples = geobench_files.Samples(root, ["id_0000", "id_0001", "id_0004"])
    assert len(samples) == 3 and samples[0].shape == (10, 16, 16) and samples.bands == "10"
    assert samples[1:].shape == (2, 10, 16, 16) and samples[1:].dtype == np.float32
    order = [1, 2, 3, 4, 5, 6, 7, 8, 11, 12]  # of B02 .. B12 in the file
    assert np.allclose(samples[1].mean((1, 2)), 3000 + 10 * np.array(order), atol=5)
    geobench.probing("m-bigearthnet", Dataset(tmp_path))
    assert not (root / "opened").exists()


@pytest.mark.parametrize(
    "name, true",
    [
        # what the file's k-th band really is (geo-bench issues #28 and #29)
        ("m-eurosat", "B01 B02 B03 B04 B05 B06 B07 B08 B09 B10 B11 B12 B8A"),
        ("m-brick-kiln", "B01 B02 B03 B04 B05 B07 B8A B08 B11 B12 TCI TCI TCI"),
    ],
)
def test_bands_that_are_published_under_wrong_names_are_put_right(tmp_path, name, true):
    root = small.geobench(tmp_path, name)
    samples = geobench_files.Samples(root, ["id_0000"])
    for at, band in enumerate(bands.BANDS):
        if band in true.split():
            value = 1000 + 10 * true.split().index(band)
            assert abs(samples[0][at].mean() - value) < 5, band
        else:
            assert np.allclose(samples[0][at], bands.MEAN[at])
    assert any("true order" in note for note in geobench.probing(name, Dataset(tmp_path)).notes)


def test_radar_is_left_out_reflectance_scaled_and_dates_are_allowed(tmp_path):
    names = ["01 - VH.Real", "02 - VH.Imaginary", "02 - Blue_2020-01-05", "04 - Red_2020-01-05"]
    root = small.geobench(tmp_path, "m-so2sat", bands=names, scale=1e-4)
    samples = geobench_files.Samples(root, ["id_0001"])
    assert samples.bands == "B02,B04"
    assert abs(samples[0][0].mean() - 3020) < 5 and abs(samples[0][2].mean() - 3030) < 5
    assert np.allclose(samples[0][1], bands.MEAN[1])


def test_aerial_pictures_go_through_the_published_statistics(tmp_path):
    root = small.geobench(tmp_path, "m-pv4ger", bands=["Red", "Green", "Blue"], scale=0.05)
    samples = geobench_files.Samples(root, ["id_0000", "id_0001"])
    assert samples.bands == "B02,B03,B04"
    assert np.allclose(samples[1][2], bands.MEAN[2] + bands.STD[2], atol=8)
    stats_file = root / "band_stats.json"
    stats_file.write_text(json.dumps({"Red": {"mean": 1.0}}))
    with pytest.raises(BadInput, match="band_stats.json: mean and std of 'Blue'"):
        geobench_files.Samples(root, ["id_0000"])


def test_coarse_bands_are_enlarged_and_broken_files_named(tmp_path):
    root = small.geobench(tmp_path, "m-bigearthnet", side=8)
    with h5py.File(root / "id_0000.hdf5", "a") as file:
        del file["11 - SWIR"]
        file["11 - SWIR"] = np.arange(16.0).reshape(4, 4)
    samples = geobench_files.Samples(root, ["id_0000"])
    assert (samples[0][8][:2, :4] == [[0, 0, 1, 1]] * 2).all()
    with h5py.File(root / "id_0001.hdf5", "a") as file:
        del file["11 - SWIR"]
    with pytest.raises(BadInput, match="id_0001.hdf5: no band '11 - SWIR'"):
        geobench_files.Samples(root, ["id_0000", "id_0001"])[1]
    (root / "id_0002.hdf5").write_bytes(b"not HDF5")
    with pytest.raises(BadInput, match="id_0002.hdf5: not readable as HDF5"):
        geobench_files.Samples(root, ["id_0002"])


def test_labels_come_from_json_and_a_pickle_is_refused_in_words(tmp_path):
    root = small.geobench(tmp_path, "m-eurosat")
    assert list(geobench_files.labels(root, ["id_0003", "id_0004"])) == ["1", "0"]
    (root / "label_map.json").unlink()
    with pytest.raises(BadInput, match="a pickle can run any code"):
        geobench.probing("m-eurosat", Dataset(tmp_path))
    assert not (root / "opened").exists()
    (root / "label_stats.json").write_text(json.dumps({"a": [0, 1, 0], "b": [1, 0, 0]}))
    assert list(geobench_files.labels(root, ["a", "b"])) == ["1", "0"]
    (root / "label_stats.json").write_text(json.dumps({"a": [0, 1, 1], "b": [1, 0, 0]}))
    assert geobench_files.labels(root, ["a", "b"]).tolist() == [[0, 1, 1], [1, 0, 0]]
    with pytest.raises(BadInput, match="label_stats.json: no label for c"):
        geobench_files.labels(root, ["c"])
    (root / "label_stats.json").write_text(json.dumps({"a": [0, 0.5], "b": [1, 0]}))
    with pytest.raises(BadInput, match="zeros and ones"):
        geobench_files.labels(root, ["a", "b"])


def test_a_set_without_its_partition_is_an_error_and_no_skip(tmp_path, checkpoint):
    (small.geobench(tmp_path, "m-eurosat") / "default_partition.json").unlink()
    assert geobench.GeoBench("m-eurosat").available(Dataset(tmp_path)) is None
    with pytest.raises(BadInput, match="m-eurosat/default_partition.json: this file"):
        registry.run("geobench-m-eurosat", Dataset(tmp_path), Options(checkpoint, None))


@pytest.mark.parametrize(
    "change, why",
    [
        (lambda p: p.pop("valid"), "'valid'"),
        (lambda p: p["test"].append(p["train"][0]), "id_0000 is in two splits"),
        (lambda p: p["test"].append("nowhere"), "nowhere.hdf5 is not in the folder"),
        (lambda p: p.update(test=p["test"][::2]), "class 1 has no image in the split 'test'"),
    ],
)
def test_wrong_partitions_name_their_file(tmp_path, change, why):
    root = small.geobench(tmp_path, "m-eurosat")
    parts = json.loads((root / "default_partition.json").read_text())
    change(parts)
    (root / "default_partition.json").write_text(json.dumps(parts))
    with pytest.raises(BadInput, match=f"default_partition.json.*{why}"):
        geobench.probing("m-eurosat", Dataset(tmp_path))


def test_split_is_the_published_one_and_few_labels_come_from_its_training_part(tmp_path):
    small.geobench(tmp_path, "m-eurosat", count=330)
    data = geobench.probing("m-eurosat", Dataset(tmp_path))
    few, whole = data.schemes
    ((train, test),) = whole.folds(0)
    assert len(train) == 165 and len(test) == 110
    assert [data.inputs.ids[i] for i in test[:2]] == ["id_0220", "id_0221"]
    ((some, same),) = few.folds(1)
    assert len(some) == examples.FEW and set(some) < set(train) and (same == test).all()
    assert not np.array_equal(some, few.folds(2)[0][0])


def test_classification_runs_end_to_end_and_is_solved_by_its_brightness(tmp_path, checkpoint):
    small.geobench(tmp_path, "m-eurosat")
    torch.save(random_state(croma_shapes(16, 1)), tmp_path / "croma.pt")
    weights = {"croma": str(tmp_path / "croma.pt")}
    result = registry.run(
        "geobench-m-eurosat",
        Dataset(tmp_path),
        Options(checkpoint, None, seeds=2, bootstrap=50, weights=weights),
    )
    assert result.row("published split", "CROMA", "accuracy") is not None
    assert UNUSED not in result.notes
    assert result.status == "ran" and result.headline["metric"] == "accuracy"
    assert result.row("published split", "colour statistics", "accuracy").value == 1.0
    assert result.headline["n"] == 12 and result.headline["chance"] == 0.5
    assert example_figures.example(result) and figures.rows(result)


def test_micro_f1_is_that_of_scikit_learn_and_weights_count():
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 2, (2, 40, 5))
    score = stats.micro_f1(truth, guess, np.arange(40))
    assert np.isclose(score(np.ones((1, 40)))[0], f1_score(truth, guess, average="micro"))
    weights = rng.integers(0, 3, (1, 40)).astype(float)
    rows = np.repeat(np.arange(40), weights[0].astype(int))
    assert np.isclose(score(weights)[0], f1_score(truth[rows], guess[rows], average="micro"))


def test_several_labels_are_guessed_and_scored_by_micro_f1(tmp_path, checkpoint):
    small.geobench(tmp_path, "m-bigearthnet", kind="multilabel", count=90)
    weights = {"croma": str(checkpoint / "config.json")}
    result = registry.run(
        "geobench-m-bigearthnet",
        Dataset(tmp_path),
        Options(checkpoint, None, seeds=2, bootstrap=50, weights=weights),
    )
    assert UNUSED in result.notes
    assert result.headline["metric"] == geobench_multilabel.METRIC
    by_colour = result.row("published split", "colour statistics", "micro F1").value
    assert by_colour > result.headline["chance"]
    assert example_figures.example(result)


def test_thresholds_find_a_rare_class():
    rng = np.random.default_rng(0)
    y = (rng.random((400, 2)) < (0.3, 0.5)).astype(int)
    x = y + rng.normal(0, 0.5, (400, 2))
    found = geobench_multilabel.guess(x, y, np.arange(300), np.arange(300, 400), 0)
    f1 = stats.micro_f1(y[300:], found, np.arange(100))(np.ones((1, 100)))[0]
    assert f1 > 0.8
    assert (
        geobench_multilabel.majority(y, np.arange(300), np.arange(3)).tolist()
        == [[False, bool(y[:300, 1].mean() >= y[:300, 0].mean())]] * 3
    )


# ------------------------------------------------------------------------------------ Place Pulse


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
    assert data.cluster == "0.1° block" and any("by a model" in note for note in data.notes)


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
    found = registry.run("placepulse-safe", Dataset(tmp_path.parent), Options(checkpoint, None))
    assert found.status == "skipped" and "placepulse" in found.reason

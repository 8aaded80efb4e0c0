"""LocBench's classification sets: layouts, damage, and the protocol on answers known in advance."""

import json

import numpy as np
import pytest
from builders import small_locbench as small
from builders.small_models import TINY
from matplotlib.figure import Figure
from scipy import sparse

from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from gairlib.errors import BadInput, Missing
from gairlib.weights import official
from research.evaluation.geo_prior import Schedule
from research.evaluation.neighbours import NEAREST
from research.evaluation.table import OURS, RANDOM, SHARED
from research.figures import benchmarks as figures
from research.figures import examples as example_figures
from research.tasks import inventory, registry
from research.tasks.published import locbench, locbench_files
from research.tasks.published.locbench import ALONE, IMAGE, WITH, LocBench
from research.tasks.published.locbench_files import SETS
from research.tasks.task import Options

MAKERS = {
    "inat_2018": small.annotated,
    "fmow": small.fmow,
    "birdsnap-ebird": small.birds,
    "yfcc": small.yfcc,
}
SHORT = Schedule(steps=300, batch=64, every=20, patience=2, plateaus=1)


@pytest.mark.parametrize("name, make", MAKERS.items())
def test_each_layout_gives_places_classes_and_answers_in_the_same_order(tmp_path, name, make):
    make(tmp_path)
    data = LocBench(name).load(Dataset(tmp_path))
    assert len(data.labels) == 240 and len(data.test_labels) == 80 and data.classes == 4
    assert data.notes == [] and np.isfinite(data.test_lonlat).all()
    assert ((data.lonlat[:, 0] > 0) == data.labels % 2).all()  # odd classes live in the east
    assert ((data.test_lonlat[:, 0] > 0) == data.test_labels % 2).all()
    answers = data.image(slice(0, 80))
    own = answers[np.arange(80), data.test_labels]
    np.testing.assert_array_equal(np.sort(np.unique(own)), [0.4, 0.5])
    np.testing.assert_allclose(answers, small.answers(data.test_labels))


def test_birds_whose_true_place_is_unknown_keep_the_classifiers_answer(tmp_path):
    small.birds(tmp_path)
    data = LocBench("birdsnap").load(Dataset(tmp_path))
    unknown = np.arange(80) % 3 == 2
    np.testing.assert_array_equal(np.isnan(data.test_lonlat).all(1), unknown)
    assert len(data.labels) == 160 and "80 training images without a place" in data.notes[0]
    prior = locbench.everywhere(
        lambda at: np.full((at.stop - at.start, 4), 0.3), np.flatnonzero(~unknown), 80
    )
    np.testing.assert_array_equal(prior(slice(0, 4))[:, 0], [0.3, 0.3, 1, 0.3])
    np.testing.assert_array_equal(prior(slice(2, 3)), [[1.0]])


def test_rows_that_cannot_be_used_are_left_out_one_by_one_with_their_reasons(tmp_path):
    root = small.annotated(tmp_path)
    places = json.loads((root / "val2018_locations.json").read_text())
    places[1] |= {"lon": 10.0, "lat": 120.0}
    places[2] |= {"lat": "north"}
    places[3] |= {"lon": None, "lat": None}
    del places[4]
    (root / "val2018_locations.json").write_text(json.dumps(places))
    about = json.loads((root / "train2018.json").read_text())
    about["annotations"][0]["category_id"] = 4
    del about["annotations"][1]["category_id"]
    (root / "train2018.json").write_text(json.dumps(about))
    answers = small.answers(small.parts()["test"]["label"])
    answers[7] = [0.5, np.nan, 0, 0]
    answers[8] = 0
    (root / SETS["inat_2018"].predictions).unlink()
    sparse.save_npz(root / SETS["inat_2018"].predictions, sparse.csr_matrix(answers))
    data = LocBench("inat_2018").load(Dataset(tmp_path))
    assert len(data.test_labels) == 75 and len(data.labels) == 238
    assert data.answer_rows[:6].tolist() == [0, 3, 5, 6, 9, 10]
    assert np.isnan(data.test_lonlat[1]).all()
    train, test = data.notes
    assert train.startswith("2 of 240 images of train2018.json left out")
    assert "image 238: class None" in train or "image 238: class nan" in train
    assert "image 239: class 4: not a whole number from 0 to 3" in train
    assert test.startswith("5 of 80 images of val2018.json left out (image 1: lon 10.0, lat 120.0")
    assert "image 2: lon" in test and "image 4: its id is not in val2018_locations.json" in test
    assert "2 more" in test
    np.testing.assert_allclose(
        data.image(slice(0, 3)), small.answers(small.parts()["test"]["label"])[[0, 3, 5]]
    )


def _without(key):
    return lambda root: _rewrite(root / "val2018.json", lambda about: about.pop(key))


def _rewrite(path, change):
    about = json.loads(path.read_text())
    change(about)
    path.write_text(json.dumps(about))


def _other_answers(shape):
    def write(root):
        sparse.save_npz(
            root / SETS["inat_2018"].predictions, sparse.csr_matrix(np.full(shape, 0.25))
        )

    return write


@pytest.mark.parametrize(
    "damage, error, why",
    [
        (_without("annotations"), BadInput, "val2018.json: no key 'annotations'; it has images"),
        (_without("images"), BadInput, "val2018.json: no key 'images'"),
        (
            lambda root: _rewrite(root / "val2018.json", lambda about: about.update(images={})),
            BadInput,
            "val2018.json, 'images': a list",
        ),
        (
            lambda root: (root / "train2018_locations.json").write_text('["a"]'),
            BadInput,
            "train2018_locations.json: its entries must be objects",
        ),
        (
            lambda root: (root / "train2018.json").write_text("{"),
            BadInput,
            "train2018.json: not valid JSON",
        ),
        (
            lambda root: (root / "train2018.json").unlink(),
            Missing,
            "train2018.json: there is no such file",
        ),
        (
            lambda root: (root / SETS["inat_2018"].predictions).unlink(),
            Missing,
            "inat2018_val_preds_sparse.npz: there is no such file",
        ),
        (
            lambda root: (root / SETS["inat_2018"].predictions).write_bytes(b"no archive"),
            BadInput,
            "inat2018_val_preds_sparse.npz: not readable",
        ),
        (_other_answers((79, 4)), BadInput, "79 rows, but val2018.json has 80 test images"),
        (_other_answers((80, 1)), BadInput, "numbers .images, classes. are needed"),
        (
            lambda root: _rewrite(
                root / "val2018_locations.json",
                lambda places: [place.update(lat=999) for place in places],
            ),
            BadInput,
            "val2018.json: no usable image of 80 .lon",
        ),
    ],
)
def test_a_file_of_another_layout_is_one_error_that_names_it(tmp_path, damage, error, why):
    damage(small.annotated(tmp_path))
    with pytest.raises(error, match=why):
        LocBench("inat_2018").load(Dataset(tmp_path))


def test_other_layouts_name_what_they_lack(tmp_path):
    root = small.yfcc(tmp_path)
    table = (root / "train_test_split.csv").read_text()
    (root / "train_test_split.csv").write_text(table.replace("class", "kind"))
    with pytest.raises(BadInput, match="train_test_split.csv: lacks the column class"):
        LocBench("yfcc").load(Dataset(tmp_path))
    (root / "train_test_split.csv").write_text(table.replace("test", "val"))
    with pytest.raises(BadInput, match="train_test_split.csv: no row has the split 'test'"):
        LocBench("yfcc").load(Dataset(tmp_path))
    root = small.birds(tmp_path)
    _rewrite(root / "birdsnap_with_loc_2019.json", lambda about: about.pop("test"))
    with pytest.raises(BadInput, match="birdsnap_with_loc_2019.json: no key 'test'"):
        LocBench("birdsnap").load(Dataset(tmp_path))


def test_sets_are_listed_with_a_reason_where_they_are_not_there(tmp_path):
    found = registry.available(Dataset(tmp_path))
    names = [f"locbench-{name}" for name in SETS]
    assert len(names) == 7 and all("no folder locbench/" in found[name] for name in names)
    small.annotated(tmp_path)
    (tmp_path / "locbench/yfcc").mkdir()
    (tmp_path / "geo_prior_data/data").mkdir(parents=True)
    small.birds(tmp_path)
    (tmp_path / "locbench/birdsnap").rename(tmp_path / "geo_prior_data/data/birdsnap")
    dataset = Dataset(tmp_path)
    found = registry.available(dataset)
    able = ["locbench-inat_2018", "locbench-birdsnap", "locbench-birdsnap-ebird"]
    assert [name for name in names if found[name] is None] == able
    assert [task.name for task in registry.default_for(dataset)] == able
    parts = inventory.count(dataset).set_index("part")["count"]
    assert parts["locbench/inat_2018"] == 5 and parts["locbench/birdsnap"] == 2
    assert dataset.benchmarks() == {} and inventory.unread(dataset) == []


def test_a_prior_from_places_mends_what_the_classifier_confuses(tmp_path, checkpoint, monkeypatch):
    """Alone the classifier is right in 60 of 80 images; places know west from east."""
    small.annotated(tmp_path)
    monkeypatch.setattr(locbench, "SCHEDULE", SHORT)
    monkeypatch.setattr(locbench, "BACKGROUND", 300)
    monkeypatch.setattr(official, "load_official", lambda path: encode.random_init(TINY, 3))
    options = Options(
        checkpoint,
        None,
        seeds=2,
        bootstrap=30,
        location_encoders=["xyz"],
        weights={"gair": str(checkpoint / "config.json")},
    )
    result = registry.run("locbench-inat_2018", Dataset(tmp_path), options)
    assert result.status == "ran", result.reason
    rows = result.rows[result.rows.seed == "mean"].set_index(["split", "metric", "encoder"])
    value, top = rows["value"], "top-1 accuracy"
    assert value[WITH, top, IMAGE] == 0.75 and value[WITH, "top-3 accuracy", IMAGE] > 0.9
    assert value[WITH, top, NEAREST] > 0.85 and value[WITH, top, "grid, cells chosen"] > 0.85
    assert value[WITH, top, "coordinates"] > 0.85 and value[WITH, top, "xyz"] > 0.85
    assert 0.3 < value[ALONE, top, "coordinates"] < 0.7  # east or west, of two pairs
    assert IMAGE not in rows.loc[ALONE].index.get_level_values("encoder")
    assert {OURS, RANDOM, SHARED, "GAIR, published", "majority"} <= set(rows.loc[ALONE, top].index)
    assert (rows["n"] == 80).all() and (rows["n_train"] == 240).all()
    head = result.headline
    assert (head["metric"], head["split"], head["chance_name"]) == (top, WITH, "majority")
    assert [key for key, *_ in result.mainline] == [
        "top1",
        "top3",
        "top1_place_alone",
        "top3_place_alone",
    ]
    assert result.held_out == "published split" and result.fits
    assert result.versus(WITH, IMAGE, top).difference == pytest.approx(head["value"] - 0.75)
    assert isinstance(figures.rows(result), Figure)
    assert isinstance(example_figures.example(result), Figure)
    result.save(tmp_path / "out", tmp_path / "metrics.json")
    others = json.loads((tmp_path / "metrics.json").read_text())["others"]
    assert others["top1"][IMAGE]["value"] == 0.75


def test_tasks_of_the_module_name_every_file_of_a_set():
    """The layout in words is the layout in code."""
    said = locbench_files.__doc__.replace("2017", "*").replace("2018", "*")
    for layout in SETS.values():
        for name in (layout.predictions, layout.train[0], layout.test[0]):
            assert name.replace("2017", "*").replace("2018", "*") in said

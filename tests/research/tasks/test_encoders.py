"""What is compared on a probing task: published weights, and neighbours as rivals."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from builders.small_models import SMALL
from builders.small_weights import croma_shapes, galileo_published, geoclip_state, random_state

from gairlib import GAIR
from gairlib.bands import BANDS
from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from gairlib.errors import BadInput, Missing
from gairlib.rs.galileo import Galileo
from research.evaluation import features
from research.evaluation.neighbours import NEAREST
from research.evaluation.table import OURS, RANDOM, RANDOM_SHARED, SHARED
from research.tasks import encoders, others, task
from research.tasks.data import Places, TaskData, random_folds
from research.tasks.probing import guesses
from research.tasks.street import Street
from research.tasks.task import Options


def test_croma_reads_chips_and_positions(tmp_path):
    path = tmp_path / "croma.pt"
    torch.save(random_state(croma_shapes(16, 1)), path)
    croma = Options(weights={"croma": str(path)})
    rng = np.random.default_rng(0)
    chips = rng.integers(200, 4000, (3, 10, 32, 32)).astype(np.uint16)
    xy = rng.uniform(-1, 1, (5, 2))

    def data(inputs, n):
        return TaskData(
            "t", "rs", "regression", "y", inputs, np.zeros(n), np.arange(n), "site", [], True
        )

    (row,) = others.published(data(chips, 3), None, croma)
    assert row[:2] == ("CROMA", "published") and row[2].shape == (3, 16)
    chip = np.array([2, 0, 0, 1, 2])
    (row,) = others.published(data(Places(chips, chip, xy), 5), None, croma)
    one = Places(chips[[2]], np.zeros(1, int), xy[:1])
    (alone,) = others.published(data(one, 1), None, croma)
    np.testing.assert_allclose(row[2][0], alone[2][0], atol=1e-5)
    location = TaskData(
        "t", "location", "regression", "y", xy, np.zeros(5), np.arange(5), "block", [], True
    )
    assert others.published(location, None, croma) == []


def test_galileo_leaves_out_the_bands_that_a_set_lacks(tmp_path):
    encoder = Galileo(32, depth=1, heads=2)
    state = random_state({k: v.shape for k, v in encoder.state_dict().items()}, seed=1)
    encoder.load_state_dict(state)
    path = tmp_path / "encoder.pt"
    torch.save(galileo_published(encoder), path)
    (tmp_path / "config.json").write_text('{"model": {"encoder": {"num_heads": 2}}}')
    galileo = Options(weights={"galileo": str(path)})
    chips = np.random.default_rng(0).integers(200, 4000, (3, 10, 16, 16)).astype(np.float32)
    invented = chips.copy()
    invented[:, 3:] = 1000

    def features_of(images, bands):
        about = "t", "rs", "classification", "y", images, np.array(["a"] * 3)
        data = TaskData(*about, np.arange(3), "image", [], True, bands=bands)
        ((name, how, x),) = others.published(data, None, galileo)
        assert (name, how) == ("Galileo", "published")
        return x

    rgb, all_bands = features_of(chips, "B02,B03,B04"), features_of(chips, "10")
    np.testing.assert_array_equal(features_of(invented, "B02,B03,B04"), rgb)
    assert np.abs(rgb - all_bands).max() > 0.01
    np.testing.assert_array_equal(features_of(chips, ""), all_bands)
    every = ",".join(BANDS)
    np.testing.assert_array_equal(features_of(chips, every), all_bands)


def test_a_model_with_galileos_tower_reads_the_bands_that_are_there(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "FOLDER", str(tmp_path))
    changes = {"rs_model": "galileo", "preprocessing": "galileo"}
    model = encode.random_init(SMALL.replace(**changes), 0)
    size = SMALL.rs_size
    chips = np.random.default_rng(0).integers(200, 4000, (3, 10, size, size)).astype(np.float32)
    invented = chips.copy()
    invented[:, 3:] = 1000

    def read(how, images, bands):
        about = "t", "rs", "classification", "y", images, np.array(["a"] * 3)
        data = TaskData(*about, np.arange(3), "image", [], True, bands=bands)
        return how(data, model, None, "cpu")

    for how in (features.of_task, features.in_shared_space):
        rgb = read(how, chips, "B02,B03,B04")
        np.testing.assert_array_equal(read(how, invented, "B02,B03,B04"), rgb)
        assert np.abs(rgb - read(how, chips, "10")).max() > 1e-4


def test_weights_that_are_not_there_are_named(tmp_path):
    with pytest.raises(Missing, match="benchmark.weights.geoclip"):
        Options(weights={"geoclip": str(tmp_path / "absent.pt")})
    with pytest.raises(BadInput, match="'dinov9'"):
        Options(weights={"dinov9": "x"})


def test_an_asset_is_found_by_name_and_one_that_is_not_there_is_left_out(tmp_path, monkeypatch):
    def find(name, fetch=False):
        assert not fetch
        if name != "geoclip":
            raise Missing(f"asset {name}: not there")
        return SimpleNamespace(path=tmp_path / "w.pth")

    monkeypatch.setattr(task.assets, "find", find)
    options = Options(weights={"geoclip": "asset:geoclip", "imagenet": "asset:stones"})
    assert options.files == {"geoclip": str(tmp_path / "w.pth")}
    assert options.lacking == ["ImageNet, left out: asset stones: not there"]


def test_photos_and_chips_have_their_neighbours_labels_as_a_rival(tiny, tmp_path):
    """The tiny world is green in the west: over rows, neighbours know it; over sites nobody does"""
    data = Street("green_view").load(Dataset(tiny))
    assert data.lonlat.shape == (len(data.labels), 2)
    GAIR(SMALL).save_pretrained(tmp_path)
    found, _ = encoders.compared(data, Dataset(tiny), Options(tmp_path, seeds=1))
    assert {NEAREST, "inverse distance", "coordinates"} <= {e.name for e in found}


def test_places_are_probed_at_own_features_and_in_the_shared_space(tmp_path):
    model = GAIR(SMALL).eval()
    model.save_pretrained(tmp_path)
    rng = np.random.default_rng(0)
    places = np.stack([rng.uniform(-180, 180, 40), rng.uniform(-60, 60, 40)], 1)
    shared = encode.locations(model, places, normalize=False)
    data = TaskData(
        "t",
        "location",
        "regression",
        "y",
        places,
        shared[:, 0].astype(float),  # what a probe in the shared space cannot but find
        np.arange(40),
        "block",
        [random_folds(np.arange(40))],
        True,
    )
    found, _ = encoders.compared(data, None, Options(tmp_path, seeds=1))
    named = {e.name: e for e in found}
    assert {OURS, RANDOM, SHARED, RANDOM_SHARED} <= set(named)
    rows, guess, _ = guesses(data, named[SHARED], data.schemes[0], 0)
    assert np.corrcoef(guess, data.labels[rows])[0, 1] > 0.99
    own = features.of_task(data, model, None, "cpu")
    assert own.shape == (40, SMALL.dim)
    rows, guess, _ = guesses(data, named[OURS], data.schemes[0], 0)
    again = guesses(data, encoders.linear("x", data, own), data.schemes[0], 0)[1]
    np.testing.assert_array_equal(guess, again)


def test_numbers_of_places_get_the_regressor_where_geoclips_weights_are(tmp_path):
    GAIR(SMALL).save_pretrained(tmp_path)
    weights = tmp_path / "geoclip.pth"
    torch.save(geoclip_state(8, 16, 12), weights)
    rng = np.random.default_rng(0)
    places = np.stack([rng.uniform(-180, 180, 60), rng.uniform(-60, 60, 60)], 1)
    scheme = random_folds(np.arange(60))

    def compared(kind, labels, **how):
        about = ("t", "location", kind, "y", places, labels, np.arange(60), "block", [scheme])
        data = TaskData(*about, True)
        found, _ = encoders.compared(data, None, Options(tmp_path, seeds=2, **how))
        return data, {e.name: e for e in found}

    geoclip = {"weights": {"geoclip": str(weights)}}
    data, named = compared("regression", places[:, 1], **geoclip)
    rows, guess, _ = guesses(data, named[encoders.REGRESSOR], scheme, 0)
    assert np.corrcoef(guess, data.labels[rows])[0, 1] > 0.95
    assert not named[encoders.REGRESSOR].answers(scheme, data, 1, 2)
    assert encoders.REGRESSOR not in compared("regression", places[:, 1])[1]
    halves = np.where(places[:, 1] > 0, "north", "south")
    assert encoders.REGRESSOR not in compared("classification", halves, **geoclip)[1]

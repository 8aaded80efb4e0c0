"""Embeddings on disk: one space, unit length, and every row says where it comes from."""

from dataclasses import asdict

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import torch
from affine import Affine
from pyproj import Transformer

from gairlib import GAIR, origins, preprocess
from gairlib.data import scenes
from gairlib.data.dataset import Dataset
from gairlib.data.scene import sentinel_notice
from gairlib.embed import encode, export, nearest
from gairlib.errors import BadInput
from gairlib.model import model_hash, weights_hash
from gairlib.pairs.cut import expand_views
from research.figures import embeddings

CHIP = dict(chip_px=32, chip_m=320.0)


def vectors(frame):
    return np.stack(frame["embedding"].to_list())


def test_three_kinds_in_one_space(embedded):
    """Each row is the projected, normalised embedding that the model itself gives."""
    model, dataset, folder = embedded
    chips, photos, places = (
        gpd.read_parquet(folder / f"{k}.parquet") for k in ("chips", "photos", "places")
    )
    for frame in (chips, photos, places):
        x = vectors(frame)
        assert x.shape[1] == model.config.dim and frame.crs.to_epsg() == 4326
        np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, atol=1e-5)
    for other in (chips, places):
        assert np.abs(vectors(photos) @ vectors(other).T).max() <= 1 + 1e-5

    prep = preprocess.get("gairlib")
    with torch.inference_mode():
        scene = dataset.scene("quito")
        dn = next(scenes.tiles(scene, 32, 320.0))[0]
        images = prep.rs(torch.from_numpy(dn.astype(np.float32))[None], 32)
        chip = model.chip_vector(model.encode_rs(images), normalize=True)[0].numpy()
        row = dataset.street().iloc[3]
        picture = torch.from_numpy(dataset.photo(row)).permute(2, 0, 1)[None]
        photo = model.encode_sv(prep.sv(picture, 64), normalize=True)[0].numpy()
        place = model.encode_location([[row.lon, row.lat]], normalize=True)[0].numpy()
    np.testing.assert_allclose(vectors(chips[chips["chip_id"] == "quito/0"])[0], chip, atol=1e-5)
    at = photos["photo_id"] == row.photo_id
    np.testing.assert_allclose(vectors(photos[at])[0], photo, atol=1e-4)
    np.testing.assert_allclose(vectors(places[at])[0], place, atol=1e-5)
    # the same photo against the chip and against the place: one scale, one space
    np.testing.assert_allclose(
        encode.photos(model, dataset, expand_views(dataset.street()))[3], photo, atol=1e-4
    )


def test_every_row_and_file_says_where_it_comes_from(embedded):
    model, _, folder = embedded
    for kind in ("chips", "photos", "places"):
        path = folder / f"{kind}.parquet"
        frame, about = gpd.read_parquet(path), export.about(path)
        assert about["kind"] == kind and about["dim"] == 16 and about["synthetic"] is True
        assert about["weights_sha256"] == weights_hash(folder / "model")
        assert set(frame["model"]) == {about["weights_sha256"]}
        assert set(frame["embedded_on"]) == {about["date"]}
        assert set(frame["licence"]) == {"synthetic data"} == set(about["licence_of_data"])
    assert "captured_at" in gpd.read_parquet(folder / "chips.parquet")


def test_own_features_stand_beside_the_shared_space_and_are_named(embedded, tmp_path):
    """Of each tower what its probe reads, and the shared space unmoved by their presence."""
    model, dataset, folder = embedded
    street = dataset.street()
    with torch.inference_mode():
        first = next(scenes.tiles(dataset.scene("quito"), 32, 320.0))[0].astype(np.float32)
        prep = preprocess.get("gairlib")
        chip = model.encode_rs(prep.rs(torch.from_numpy(first)[None], 32)).backbone[0]
        picture = encode.read_photos(dataset, street.iloc[[3]], 64)
        photo = model.sv_backbone(prep.sv(picture, 64))[0]
        place = model.location_backbone(street[["lon", "lat"]].iloc[[3]].to_numpy())[0]
    for kind, key, row, own, frame in (
        ("chips", "chip_id", "quito/0", chip, export.chips(model, dataset, features=True, **CHIP)),
        ("photos", "photo_id", street["photo_id"][3], photo, None),
        ("places", "photo_id", street["photo_id"][3], place, None),
    ):
        if frame is None:
            source = dataset if kind == "photos" else street
            frame = getattr(export, kind)(model, source, features=True)
        path = tmp_path / f"{kind}.parquet"
        about = dict(checkpoint=folder / "model", dataset=dataset, preprocessing="gairlib")
        export.write(frame, path, **about)
        found, plain = gpd.read_parquet(path), gpd.read_parquet(folder / f"{kind}.parquet")
        np.testing.assert_array_equal(vectors(found), vectors(plain))
        features = found.set_index(key)["features"]
        np.testing.assert_allclose(features[row], own.numpy(), atol=1e-4)
        spaces = export.about(path)["spaces"]
        assert spaces["features"] == {"space": export.SPACES["features"], "dim": len(own)}
        assert spaces["embedding"] == {"space": export.SPACES["embedding"], "dim": 16}
        assert "features" not in plain
        shared = export.about(folder / f"{kind}.parquet")["spaces"]
        assert list(shared) == ["embedding"] and len(own) != 16 or kind == "chips"
    assert "features" not in nearest.Index.load(tmp_path / "chips.parquet").table


def test_model_hash_is_that_of_its_file(embedded):
    model, _, folder = embedded
    assert model_hash(model) == weights_hash(folder / "model")
    assert model_hash(GAIR.from_pretrained(folder / "model")) == model_hash(model)
    assert model_hash(GAIR(model.config)) != model_hash(model)


def test_the_cosine_of_true_pairs_has_an_interval_over_sites(embedded):
    """Six sites support one, three do not; without sites it is over blocks of 0.1 degrees."""
    _, dataset, folder = embedded
    chips, photos, places = (
        gpd.read_parquet(folder / f"{k}.parquet") for k in ("chips", "photos", "places")
    )
    assert set(photos["site"]) == {"bern", "quito", "perth"}
    assert "cosine_true_photo_place_low" not in embeddings.summary(chips, photos, places)
    named = photos.assign(site=[f"{s}-{i % 2}" for i, s in enumerate(photos["site"])])
    found = embeddings.summary(chips, named, places)
    low, high = (found[f"cosine_true_photo_place_{end}"] for end in ("low", "high"))
    assert low < found["cosine_true_photo_place"] < high
    blocks = embeddings.summary(chips, photos.drop(columns="site"), places)
    assert blocks["cosine_true_photo_place_low"] not in (None, low)


def test_licences(tiny, embedded):
    model, dataset, _ = embedded
    street = pd.DataFrame({"licence": ["CC BY-SA 4.0", None]})
    assert export.licences_of(dataset, street).tolist() == ["CC BY-SA 4.0", "synthetic data"]
    real = Dataset(tiny)
    real.synthetic = False
    assert export.chips(model, real, **CHIP)["licence"].str.contains("Copernicus Sentinel").all()
    assert export.licences_of(real, street)[1] == export.UNKNOWN
    notice = "contains modified Copernicus Sentinel data"
    assert sentinel_notice("2021-05-06") == f"{notice} 2021"
    assert sentinel_notice(None) == notice


def test_the_licence_of_the_weights_goes_along(embedded, tmp_path):
    """Nothing is claimed of weights of which nothing is known; others' licences stay theirs."""
    model, dataset, _ = embedded
    frame = export.places(model, dataset.street().iloc[:2])
    gair = origins.Origin("model", "gair.pth", "CC BY-NC", "a paper")
    for started, words, listed in (
        (None, f"unknown, see {tmp_path}", []),
        ((), "trained from nothing", []),
        ((gair,), "CC BY-NC (gair.pth)", [asdict(gair)]),
    ):
        copy = GAIR(model.config)
        copy.load_state_dict(model.state_dict())
        copy.origins = started
        copy.save_pretrained(tmp_path)
        about = dict(checkpoint=tmp_path, dataset=dataset, preprocessing="gairlib")
        export.write(frame, tmp_path / "x.parquet", **about)
        found = export.about(tmp_path / "x.parquet")
        assert words in found["licence_of_weights"]
        assert found["weights_started_from"] == listed
        assert ("MIT" in found["licence_of_weights"]) == (started == ())


def test_refuses_what_is_not_of_unit_length(embedded, tmp_path):
    model, dataset, folder = embedded
    frame = export.places(model, dataset.street())
    frame["embedding"] = [2 * v for v in frame["embedding"]]
    about = dict(checkpoint=folder / "model", dataset=dataset, preprocessing="gairlib")
    with pytest.raises(BadInput, match="unit length"):
        export.write(frame, tmp_path / "x.parquet", **about)
    assert not list(tmp_path.iterdir())
    export.write(frame.iloc[:0], tmp_path / "none.parquet", **about)  # no rows are no fault
    assert len(gpd.read_parquet(tmp_path / "none.parquet")) == 0
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(BadInput, match="no provenance"):
        export.about(tmp_path / "other.parquet")


@pytest.mark.parametrize(("crs", "x"), [("EPSG:32760", None), ("EPSG:4326", 179.999)])
def test_outlines_across_the_antimeridian_stay_in_one_piece(crs, x):
    y, size = -16.8, 100 / 111_320
    if x is None:
        x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(180.0, y)
        x, size = x - 160, 10.0
    shape = export.chip_outline(Affine(size, 0, x, 0, -size, y), crs, 32)
    west, _, east, _ = shape.bounds
    assert east - west < 0.04 and shape.is_valid
    assert west < 180 < east or west < -180 < east

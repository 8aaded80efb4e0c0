"""Held encoders' features, computed once: the same rows, and never a wrong one."""

from dataclasses import replace

import pytest
import torch
from builders.small_training import CONFIG, OPTIONS, pair_up, train

from gairlib import GAIR, preprocess
from gairlib.location import registry
from gairlib.location.base import LocationEncoder
from gairlib.train import inputs, prepare
from gairlib.train.held import Places, keep, keep_photos, keep_places
from gairlib.train.towers import Tuning


def points(n, seed=0):
    """Photos along few streets: longitudes and latitudes repeat, and some points twice."""
    g = torch.Generator().manual_seed(seed)
    lon = torch.randint(-18000, 18000, (n,), generator=g).double() / 100
    lat = torch.randint(-9, 9, (n,), generator=g).double() * 10
    made = torch.stack([lon, lat], 1)
    return torch.cat([made, made[::3]])


def encoder(name="rff"):
    torch.manual_seed(0)
    return registry.create(name, 16, hidden=24, **({"width": 8} if name == "geoclip" else {}))


@pytest.mark.parametrize("name", ["rff", "rff-xyz", "geoclip", "spherical-harmonics", "xyz"])
def test_rows_are_what_the_encoder_gives(name):
    made, lonlat = encoder(name).requires_grad_(False), points(200)
    places = keep_places(made, lonlat, "cpu")
    g = torch.Generator().manual_seed(1)
    asked = lonlat[torch.randint(len(lonlat), (500,), generator=g)]
    torch.testing.assert_close(places(asked), made.backbone(asked))
    torch.testing.assert_close(made.head(places(asked)), made(asked), rtol=1e-5, atol=1e-6)
    assert len(places.features) == len(lonlat.unique(dim=0)) and places(asked[:0]).shape[0] == 0


def test_a_coordinate_that_is_not_known_is_nan_and_never_anothers():
    lonlat = points(50)
    places = Places(encoder().requires_grad_(False), lonlat)
    mixed = torch.tensor([lonlat[0, 0], lonlat[1, 1]], dtype=torch.float64)  # known apart
    strange = torch.stack([lonlat[0] + 1e-12, mixed, lonlat.amax(0) + 1, lonlat.amin(0) - 1])
    known = (strange[:, None] == lonlat).all(-1).any(-1)
    assert not known.any() and places(strange).isnan().all()
    assert not places(lonlat).isnan().any()


def test_nothing_is_kept_that_learns_or_is_too_much():
    lonlat = points(50)
    made = encoder("geoclip")
    assert keep_places(made, lonlat, "cpu") is None  # everything learns
    for name, parameter in made.named_parameters():
        parameter.requires_grad_(name.startswith("dense."))
    assert keep_places(made, lonlat, "cpu") is not None  # what maps to D alone
    assert keep_places(made, lonlat, "cpu", limit=100) is None
    assert keep_places(made, lonlat[:0], "cpu") is None


def test_an_encoder_without_a_head_of_its_own_is_asked_each_time():
    class NoHead(LocationEncoder):
        def __init__(self):
            super().__init__()
            self.first, self.last = torch.nn.Linear(2, 4), torch.nn.Linear(4, 3)

        def features(self, lonlat):
            return lonlat / 90

        def hidden(self, features):
            return self.first(features)

        def network(self, features):
            return self.last(self.hidden(features))

    assert keep_places(NoHead().requires_grad_(False), points(20), "cpu") is None


SIDE = {"sv_side": "resnet10t", "sv_side_options": {"channels": [8] * 4, "stem_type": ""}}


def held_photo_tower():
    """A model whose photo tower is held but for the net beside it, and what says so."""
    torch.manual_seed(0)
    model = GAIR(CONFIG.replace(**SIDE))
    names = frozenset(n for n in model.state_dict() if n.startswith("sv.tower."))
    return model, {"sv": Tuning(names, 0)}


def test_photos_are_known_as_they_are_and_mirrored(tiny):
    dataset, pairs = pair_up(tiny)
    model, found = held_photo_tower()
    still = replace(OPTIONS, photo_jitter=0.0)
    batches = prepare.batches(pairs, dataset, model.config, still)["train"]
    known = keep(model, found, batches, "cpu")
    assert known.places is None and known.photos.shape == (2 * len(batches), 32)
    prep, mirrored = preprocess.get(model.config.preprocessing), 0
    for step in range(4):
        batch = batches.batch(step)
        made = inputs.make(batch, model.config, still, step)
        photos = prep.sv(batch.photos[batch.valid], model.config.sv_size)
        turned = made.view % 2 == 1
        mirrored += int(turned.sum())
        photos = torch.where(turned[:, None, None, None], photos.flip(-1), photos)
        with torch.no_grad():
            torch.testing.assert_close(known.photos[made.view], model.sv.base(photos))
    assert mirrored
    assert keep_photos(model, batches, "cpu", limit=1000) is None
    assert keep(model, {}, batches, "cpu").photos is None


def test_a_run_with_known_photos_trains_what_is_beside_and_nothing_else(tiny, tmp_path):
    dataset, pairs = pair_up(tiny)
    torch.set_num_threads(1)
    ends = []
    for name in ("one", "two"):
        model, found = held_photo_tower()
        first = {k: v.clone() for k, v in model.state_dict().items()}
        train(model, dataset, pairs, tmp_path / name, towers=found)
        ends.append(model.state_dict())
    same = {k for k, v in first.items() if torch.equal(v, ends[0][k])}
    assert found["sv"].loaded <= same
    assert not any(k.startswith("sv.side.") and k.endswith("conv1.weight") for k in same)
    assert all(torch.equal(v, ends[1][k]) for k, v in ends[0].items())

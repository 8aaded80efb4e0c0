"""Frozen features against the model called directly."""

import numpy as np
import pytest
import torch
from builders.small_models import WIDER_SV as SMALL

from gairlib import preprocess
from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from gairlib.model import GAIR


@pytest.fixture(scope="module")
def model() -> GAIR:
    return encode.random_init(SMALL, 0)


def test_random_init_is_decided_by_its_seed_and_leaves_the_global_state_alone():
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    a, b, c = (encode.random_init(SMALL, s) for s in (3, 3, 4))
    assert torch.rand(1) == expected
    pairs = list(zip(a.state_dict().values(), b.state_dict().values(), c.state_dict().values()))
    assert all(torch.equal(x, y) for x, y, _ in pairs)
    assert any(not torch.equal(x, z) for x, _, z in pairs)


def test_chips_equal_the_model_whatever_the_batch(model):
    dn = np.random.default_rng(0).integers(1, 4000, (7, 10, 32, 32)).astype(np.uint16)
    x = preprocess.get(SMALL.preprocessing).rs(torch.from_numpy(dn.astype(np.float32)), 32)
    with torch.inference_mode():
        encoded = model.encode_rs(x)
        mean = model.chip_vector(encoded, normalize=True).numpy()
    pooled = encode.chips(model, dn, batch=3)
    np.testing.assert_allclose(pooled, encoded.pooled.numpy(), atol=1e-5)
    np.testing.assert_allclose(encode.chips(model, dn, kind="shared", batch=2), mean, atol=1e-5)
    assert encode.chips(model, dn[:0]).shape == (0, 16)


def test_locations_are_of_unit_length_unless_asked_otherwise(model):
    lonlat = [[0.0, 0.0], [179.9, 80.0], [-77.0, -12.0]]
    unit = encode.locations(model, lonlat, batch=2)
    raw = encode.locations(model, lonlat, normalize=False)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(raw / np.linalg.norm(raw, axis=1, keepdims=True), unit, atol=1e-5)


def test_photos_come_in_the_order_of_the_rows(model, tiny):
    dataset = Dataset(tiny)
    rows = dataset.street()
    found = encode.photos(model, dataset, rows, batch=5)
    assert found.shape == (len(rows), 16) and np.isfinite(found).all()
    some = rows.iloc[[7, 2]]
    np.testing.assert_allclose(encode.photos(model, dataset, some), found[[7, 2]], atol=1e-5)
    images = encode.read_photos(dataset, some, 32)
    assert images.dtype == torch.uint8 and images.shape == (2, 3, 32, 32)
    backbone = encode.encode_photos(model, images, backbone=True)
    assert backbone.shape == (2, 24)  # the tower's width, before the projection

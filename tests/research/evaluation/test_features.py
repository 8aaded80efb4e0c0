"""Kept features: used again for the same model and inputs, computed anew for any others. Plain
statistics against loops."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from builders.small_models import WIDER_SV as SMALL
from hypothesis import given, settings
from hypothesis import strategies as st

from gairlib.embed import encode
from research.evaluation import features

CHIPS = np.random.default_rng(0).integers(1, 4000, (5, 10, 32, 32)).astype(np.uint16)


class Counting:
    def __init__(self, model):
        self.model, self.times = model, 0

    def __call__(self):
        self.times += 1
        return encode.chips(self.model, CHIPS)


def test_the_second_reading_computes_nothing_and_gives_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "FOLDER", str(tmp_path))
    compute = Counting(encode.random_init(SMALL, 0))
    first, second = (
        features.cached(compute, compute.model, (CHIPS,), "cpu", "chips") for _ in range(2)
    )
    assert compute.times == 1
    np.testing.assert_array_equal(first, encode.chips(compute.model, CHIPS))
    np.testing.assert_array_equal(second, first)


def test_another_model_input_kind_or_configuration_has_another_key():
    model = encode.random_init(SMALL, 0)
    keys = [
        features.key(model, (CHIPS,), "cpu", "chips"),
        features.key(encode.random_init(SMALL, 1), (CHIPS,), "cpu", "chips"),
        features.key(model, (CHIPS[::-1],), "cpu", "chips"),
        features.key(model, (CHIPS.astype(np.int32),), "cpu", "chips"),
        features.key(model, (CHIPS,), "cpu", "tokens"),
    ]
    one_weight = encode.random_init(SMALL, 0)
    with torch.no_grad():
        next(one_weight.parameters()).view(-1)[0] += 1e-6
    keys.append(features.key(one_weight, (CHIPS,), "cpu", "chips"))
    same = encode.random_init(SMALL.replace(preprocessing="published"), 0)
    same.load_state_dict(model.state_dict())
    keys.append(features.key(same, (CHIPS,), "cpu", "chips"))
    assert len(set(keys)) == len(keys)
    assert features.key(encode.random_init(SMALL, 0), (CHIPS,), "cpu", "chips") == keys[0]


@pytest.mark.parametrize(
    "spoil",
    [lambda path: path.write_bytes(path.read_bytes()[:200]), lambda path: path.write_bytes(b"")],
)
def test_a_file_that_was_cut_short_is_computed_anew(tmp_path, monkeypatch, spoil):
    monkeypatch.setattr(features, "FOLDER", str(tmp_path))
    compute = Counting(encode.random_init(SMALL, 0))
    first = features.cached(compute, compute.model, (CHIPS,), "cpu", "chips")
    (path,) = tmp_path.iterdir()
    spoil(path)
    again = features.cached(compute, compute.model, (CHIPS,), "cpu", "chips")
    assert compute.times == 2
    np.testing.assert_array_equal(again, first)
    assert np.load(path).shape == first.shape  # and it is whole again


def test_colour_statistics_and_thumbnails_equal_a_loop():
    x = np.random.default_rng(0).integers(0, 255, (300, 3, 8, 8)).astype(np.uint8)
    stats, small = features.colour_statistics(x), features.thumbnails(x, 2)
    for i in (0, 255, 256, 299):  # either side of a chunk's end
        flat = x[i].reshape(3, -1).astype(float)
        want = [flat.mean(1), flat.std(1), *np.quantile(flat, features.QUANTILES, axis=1)]
        np.testing.assert_allclose(stats[i], np.concatenate(want), rtol=1e-4)
        want = x[i].reshape(3, 2, 4, 2, 4).astype(float).mean((2, 4))
        np.testing.assert_allclose(small[i], want.ravel(), rtol=1e-5)


@given(seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_local_statistics_equal_a_loop_over_windows(seed):
    rng = np.random.default_rng(seed)
    chips = rng.integers(0, 9000, (3, 4, 12, 12)).astype(np.uint16)
    chip_of, xy = rng.integers(0, 3, 9), rng.uniform(-1, 1, (9, 2))
    xy[0], xy[1] = [-1, -1], [1, 1]  # corners: windows are cut off
    got = features.local_statistics(chips, chip_of, xy, radii=(1, 4))
    for i, (c, (x, y)) in enumerate(zip(chip_of, xy)):
        column, row = (min(int((v + 1) / 2 * 12), 11) for v in (x, y))
        want = []
        for r in (1, 4):
            window = chips[c, :, max(row - r, 0) : row + r + 1, max(column - r, 0) : column + r + 1]
            want += [window.mean((1, 2)), window.std((1, 2))]
        np.testing.assert_allclose(got[i], np.concatenate(want), rtol=1e-4, atol=0.05)


@pytest.mark.parametrize("name, width", [("geoclip", 40), ("rff", SMALL.dim)])
def test_a_head_of_a_location_encoders_own_is_read_whole(name, width):
    """Hidden units are reduced to as many numbers as the shared space has."""
    options = {"sigmas": [1.0], "features": 8, "hidden": 48}
    options |= {"width": 40} if name == "geoclip" else {}
    model = encode.random_init(SMALL.replace(location=name, location_options=options), 0)
    places = np.random.default_rng(0).uniform([-180, -90], [180, 90], (60, 2))
    data = SimpleNamespace(inputs=places, modality="location")
    found = features.of_task(data, model, None, "cpu")
    assert found.shape == (60, width) and found.dtype == np.float32
    if name == "geoclip":
        with torch.inference_mode():
            np.testing.assert_array_equal(found, model.location_backbone(places))


def test_leading_components_keep_distances_as_well_as_any_projection_of_that_width():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 40)) + 5
    found = features.leading(x, 8)
    assert found.shape == (60, 8) and found.dtype == np.float32
    gaps = np.linalg.norm(x[:, None] - x[None], axis=-1)
    np.testing.assert_allclose(
        np.linalg.norm(found[:, None] - found[None], axis=-1), gaps, atol=1e-4
    )
    assert np.abs(found[:, 3:]).max() < 1e-4 and features.leading(x[:5], 8).shape == (5, 5)

"""Kept features: used again for the same model and inputs, computed anew for any others."""

import numpy as np
import pytest
import torch

from gairlib.config import GAIRConfig
from gairlib.embed import encode
from research.evaluation import feature_cache

SMALL = GAIRConfig(
    dim=16,
    rs_size=32,
    rs_patch=8,
    rs_depth=1,
    rs_heads=2,
    sv_size=32,
    decoder_hidden=(16,),
    sv_options={"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2},
)
CHIPS = np.random.default_rng(0).integers(1, 4000, (5, 10, 32, 32)).astype(np.uint16)


class Counting:
    def __init__(self, model):
        self.model, self.times = model, 0

    def __call__(self):
        self.times += 1
        return encode.chips(self.model, CHIPS)


def test_the_second_reading_computes_nothing_and_gives_the_same(tmp_path):
    compute = Counting(encode.random_init(SMALL, 0))
    first, second = (
        feature_cache.cached(compute, compute.model, (CHIPS,), "cpu", "chips", tmp_path)
        for _ in range(2)
    )
    assert compute.times == 1
    np.testing.assert_array_equal(first, encode.chips(compute.model, CHIPS))
    np.testing.assert_array_equal(second, first)


def test_another_model_input_kind_or_configuration_has_another_key():
    model = encode.random_init(SMALL, 0)
    keys = [
        feature_cache.key(model, (CHIPS,), "cpu", "chips"),
        feature_cache.key(encode.random_init(SMALL, 1), (CHIPS,), "cpu", "chips"),
        feature_cache.key(model, (CHIPS[::-1],), "cpu", "chips"),
        feature_cache.key(model, (CHIPS.astype(np.int32),), "cpu", "chips"),
        feature_cache.key(model, (CHIPS,), "cpu", "tokens"),
    ]
    one_weight = encode.random_init(SMALL, 0)
    with torch.no_grad():
        next(one_weight.parameters()).view(-1)[0] += 1e-6
    keys.append(feature_cache.key(one_weight, (CHIPS,), "cpu", "chips"))
    same = encode.random_init(SMALL.replace(preprocessing="published"), 0)
    same.load_state_dict(model.state_dict())
    keys.append(feature_cache.key(same, (CHIPS,), "cpu", "chips"))
    assert len(set(keys)) == len(keys)
    assert feature_cache.key(encode.random_init(SMALL, 0), (CHIPS,), "cpu", "chips") == keys[0]


@pytest.mark.parametrize(
    "spoil",
    [lambda path: path.write_bytes(path.read_bytes()[:200]), lambda path: path.write_bytes(b"")],
)
def test_a_file_that_was_cut_short_is_computed_anew(tmp_path, spoil):
    compute = Counting(encode.random_init(SMALL, 0))
    first = feature_cache.cached(compute, compute.model, (CHIPS,), "cpu", "chips", tmp_path)
    (path,) = tmp_path.iterdir()
    spoil(path)
    again = feature_cache.cached(compute, compute.model, (CHIPS,), "cpu", "chips", tmp_path)
    assert compute.times == 2
    np.testing.assert_array_equal(again, first)
    assert np.load(path).shape == first.shape  # and it is whole again


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    compute = Counting(encode.random_init(SMALL, 0))
    for _ in range(2):
        feature_cache.cached(compute, compute.model, (CHIPS,), "cpu", "chips", "")
    assert compute.times == 2 and not list(tmp_path.iterdir())

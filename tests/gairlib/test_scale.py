"""The scale of the training: in the config, the default, and said where another one is read."""

import json
import warnings

import numpy as np
import pytest
import rasterio
from builders.small_models import SMALL
from builders.small_training import pair_up

from gairlib import scale
from gairlib.config import GAIRConfig
from gairlib.data.dataset import Dataset
from gairlib.embed import dense, encode, export, field
from gairlib.errors import BadInput
from gairlib.model import GAIR, model_hash, weights_hash
from gairlib.train import prepare

CHIP = {"chip_px": 32, "chip_m": 320.0}
KNOWN = SMALL.replace(**CHIP)


def test_what_is_read_is_what_was_trained_on_unless_asked():
    with warnings.catch_warnings(action="error"):
        assert scale.of(KNOWN) == scale.of(KNOWN, 32, 320.0) == (32, 320.0)
    for px, m, found in ((64, None, "64 px, 320 m"), (None, 640.0, "32 px, 640 m")):
        with pytest.warns(scale.OtherScale, match=f"{found}.*trained.*32 px, 320 m"):
            assert scale.of(KNOWN, px, m) == (px or 32, m or 320.0)
    with pytest.warns(scale.OtherScale, match="does not say"):
        assert scale.of(SMALL, 32, 320.0) == (32, 320.0)
    for given in ({}, {"px": 32}, {"m": 320.0}):
        with pytest.raises(BadInput, match="does not say.*give both"):
            scale.of(SMALL, **given)


def test_configs_of_before_say_nothing_of_it_and_stay_as_they_were():
    assert "chip_px" not in SMALL.to_dict() and "chip_m" not in SMALL.to_dict()
    assert scale.trained(GAIRConfig.from_dict(SMALL.to_dict())) == "unknown"
    assert GAIRConfig.from_dict(json.loads(json.dumps(KNOWN.to_dict()))) == KNOWN
    for wrong in ({"chip_px": 64}, {"chip_m": 640.0}, {"chip_px": 0, "chip_m": 1.0}):
        with pytest.raises(BadInput, match="chip_px.*chip_m"):
            SMALL.replace(**wrong)


def test_training_writes_it_and_the_weights_stay_the_same(tiny, tmp_path):
    _, pairs = pair_up(tiny, tmp_path / "pairs")
    changes = {k: v for k, v in SMALL.to_dict().items() if k != "decoder_hidden"}
    model, _ = prepare.build_model(pairs, {"changes": changes}, {"seed": 0})
    attrs = pairs.chips.attrs
    assert (model.config.chip_px, model.config.chip_m) == (attrs["chip_px"], attrs["chip_m"])
    model.save_pretrained(tmp_path / "model")
    told = GAIR.from_pretrained(tmp_path / "model")
    assert told.config == model.config
    told.config = told.config.replace(chip_px=None, chip_m=None)
    told.save_pretrained(tmp_path / "untold")
    hashes = [weights_hash(tmp_path / name) for name in ("model", "untold")]
    assert {*hashes, model_hash(told)} == {model_hash(model)}
    other = {"seed": 0, "init": str(tmp_path / "untold")}
    trained_on, _ = prepare.build_model(pairs, {}, other)
    assert trained_on.config.chip_px == attrs["chip_px"]
    as_it_is, _ = prepare.build_model(pairs, {}, other | {"min_pairs": 10**6})
    assert as_it_is.config.chip_px is None


def test_outputs_say_both_scales(tiny, tmp_path):
    model, dataset = encode.random_init(KNOWN, 0), Dataset(tiny)
    scene = dataset.scenes()[0]
    own = field.dense_field(model, scene, resolution=80.0)
    assert np.array_equal(
        own.values, field.dense_field(model, scene, **CHIP, resolution=80.0).values
    )
    with pytest.warns(scale.OtherScale, match="64 px, 640 m.*32 px, 320 m"):
        path = dense.write_cog(
            model, scene, tmp_path / "f.tif", chip_px=64, chip_m=640.0, resolution=80.0
        )
    with rasterio.open(path) as file:
        tags = file.tags()
    assert tags["trained_on_chips_of"] == "32 px, 320 m" and "64 px, 640 m" in tags["chip"]
    assert "unknown" in tags["licence_of_weights"]
    model.save_pretrained(tmp_path / "model")
    chips = export.chips(model, dataset)
    export.write(
        chips, tmp_path / "c.parquet", checkpoint=tmp_path / "model", dataset=dataset,
        preprocessing="gairlib",
    )  # fmt: skip
    about = export.about(tmp_path / "c.parquet")
    assert {k: about[k] for k in CHIP} == CHIP
    assert about["trained_on_chips_of"] == "32 px, 320 m"
    assert about["field"] == "mean over the chip, nili"

"""Similarity maps: each reading is the model's own query, around the photo, at each resolution."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gairlib import GAIR, GAIRConfig, inr
from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from gairlib.errors import BadInput
from research.figures import inr as figures
from research.maps import similarity

SV = dict(sv_options={"img_size": 64, "patch_size": 32, "embed_dim": 8, "depth": 1, "num_heads": 1})


def make(**changes):
    torch.manual_seed(0)
    model = GAIR(
        GAIRConfig(dim=12, rs_depth=1, rs_heads=2, rs_size=32, decoder_hidden=[8], **SV, **changes)
    ).eval()
    if model.field is not None and model.config.decoder == "mlp":
        torch.nn.init.normal_(model.field.last.weight)
    return model


def test_linear_part_leaves_the_correction_out():
    model, grid = make(), torch.randn(1, 4, 4, 12)
    xy = torch.rand(1, 9, 2).double() * 2 - 1
    other = similarity.linear_part(model)
    nili = inr.NILI(12)
    nili.linear = model.field.linear
    with torch.inference_mode():
        torch.testing.assert_close(other.field(grid, xy), nili(grid, xy))
        assert (model.field(grid, xy) - other.field(grid, xy)).abs().max() > 0.1
    assert model.field.decoder == "mlp" and model.config.decoder == "mlp"  # as it was
    with pytest.raises(BadInput, match="bilinear"):
        similarity.linear_part(make(query_mode="bilinear"))


def test_readings():
    names = [
        list(similarity.readings(make(**c)))
        for c in ({}, {"decoder": "linear"}, {"query_mode": "bicubic"})
    ]
    assert names == [
        ["NILI, mlp decoder", "NILI, linear part alone", "raw tokens, bilinear"],
        ["NILI, linear decoder", "raw tokens, bilinear"],
        ["tokens, bicubic"],
    ]


def test_maps(tiny):
    dataset, model = Dataset(tiny), make()
    scene, photo = dataset.scene("bern"), dataset.street().iloc[0]
    vector = np.random.default_rng(0).normal(size=12)
    made = similarity.maps(
        similarity.readings(model),
        scene,
        vector,
        (photo.lon, photo.lat),
        chip_px=32,
        chip_m=320.0,
        sides={10.0: 400.0, 2.0: 100.0},
    )
    assert [m.resolution for m in made] == [10.0] * 3 + [2.0] * 3
    for m in made:
        side = {10.0: 40, 2.0: 50}[m.resolution]
        assert m.cosine.shape == (side, side) and np.nanmax(np.abs(m.cosine)) <= 1
        column, row = (float(v) for v in scene.to_pixels(photo.lon, photo.lat))
        c, r, w, h = m.field.window
        assert c <= column <= c + w and r <= row <= r + h
    assert all(np.abs(a.cosine - made[0].cosine).max() > 1e-3 for a in made[1:3])
    figure = figures.similarities(made, (photo.lon, photo.lat))
    maps = [a for a in figure.axes if a.get_xlabel().endswith("m off")]
    assert len(maps) == 6 and len(figure.axes) == 12  # each with its colour bar
    flat = replace(made[0], cosine=np.full_like(made[0].cosine, 0.3))
    figure = figures.similarities([flat, *made[1:]], (photo.lon, photo.lat))
    assert "0.30 everywhere" in figure.axes[0].get_xlabel()  # a constant field has no best place


def test_similarity_maps_say_what_their_colours_and_rings_mean(tiny):
    """A colour bar a panel, a legend, a black ring below the white one, ticks that do not meet."""
    dataset = Dataset(tiny)
    sv = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 1}
    size = {"dim": 16, "rs_size": 32, "rs_patch": 8, "rs_depth": 1, "rs_heads": 2, "sv_size": 32}
    model = encode.random_init(GAIRConfig.preset("small", **size, sv_options=sv), 0)
    scene, row = dataset.scene("quito"), dataset.street().query("site == 'quito'").iloc[0]
    vector = encode.photos(model, dataset, dataset.street().query("site == 'quito'"))[0]
    lonlat = (row.lon, row.lat)
    drawn = similarity.maps(
        similarity.readings(model),
        scene,
        vector,
        lonlat,
        chip_px=32,
        chip_m=320.0,
        sides={10.0: 320.0, 5.0: 160.0},
    )
    figure = figures.similarities(drawn, lonlat)
    panels = [a for a in figure.axes if a.get_images() and a.get_title(loc="left")]
    bars = [a for a in figure.axes if a.get_ylabel() == "cosine similarity"]
    assert len(panels) == len(drawn) == len(bars)
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ["truth", "most similar"]
    for axis in panels:
        rings = [line for line in axis.lines if line.get_markerfacecolor() == "none"]
        assert [r.get_markeredgecolor() for r in rings] == ["black", "white"]
        assert rings[0].get_markeredgewidth() > rings[1].get_markeredgewidth()
        sides = [t.get_horizontalalignment() for t in axis.get_xticklabels()]
        assert sides == ["left", "right"]

"""SV encoder: any timm tower, the two poolers, refusals."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from gairlib.config import GAIRConfig
from gairlib.errors import BadInput
from gairlib.model import GAIR
from gairlib.sv import SVEncoder

SMALL = GAIRConfig().sv_options


@pytest.mark.parametrize(
    "model, options",
    [
        ("vit_tiny_patch16_224", SMALL),
        ("vit_tiny_patch16_224", {**SMALL, "class_token": False, "global_pool": "avg"}),
        ("resnet10t", {}),
        ("convnext_atto", {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)}),
        ("mobilenetv3_small_050", {}),  # its pooled features are wider than its last map
    ],
)
def test_any_timm_tower(model, options):
    encoder = SVEncoder(24, model=model, options=options).eval()
    images = torch.randn(2, 3, 64, 64)
    out, features = encoder(images), encoder.backbone(images)
    assert out.shape == (2, 24) and features.shape == (2, encoder.width)
    out.sum().backward()
    assert encoder.dense.weight.grad.isfinite().all()


def test_poolers():
    images = 3 * torch.randn(2, 3, 64, 64)
    for pooler, apply in (("tanh", torch.tanh), ("linear", lambda x: x)):
        encoder = SVEncoder(24, options=SMALL, pooler=pooler).eval()
        want = apply(encoder.dense(encoder.backbone(images)))
        assert torch.equal(encoder(images), want)


def test_published_pooling_is_the_normed_class_token():
    encoder = SVEncoder(24, options=SMALL, norm_eps=1e-12).eval()
    images = torch.randn(2, 3, 64, 64)
    tokens = encoder.tower.forward_features(images)  # ends in the tower's norm
    torch.testing.assert_close(encoder.backbone(images), tokens[:, 0])
    assert {m.eps for m in encoder.modules() if isinstance(m, nn.LayerNorm)} == {1e-12}


def test_refusals():
    encoder = SVEncoder(24, options=SMALL)
    with pytest.raises(BadInput, match=r"\[B, 3, H, W\]"):
        encoder(torch.zeros(2, 64, 64, 3))
    with pytest.raises(BadInput, match="takes 64 x 64"):
        encoder(torch.zeros(2, 3, 96, 96))
    with pytest.raises(BadInput, match="no_such_model"):
        SVEncoder(24, model="no_such_model")
    with pytest.raises(BadInput, match="colour"):
        SVEncoder(24, options={"colour": "red"})


SIDE = {"side": "resnet10t", "side_options": {"channels": [8, 8, 8, 8], "stem_type": ""}}


def test_a_net_beside_the_tower_joins_its_features():
    encoder = SVEncoder(24, options=SMALL, **SIDE, side_alone=0.25).eval()
    images = torch.randn(3, 3, 64, 64)
    own, beside = encoder.base(images), encoder.side(images)
    both = torch.cat((0.75 * own, beside), 1)
    assert encoder.width == both.shape[1]
    torch.testing.assert_close(encoder.backbone(images), both)
    torch.testing.assert_close(encoder(images), encoder.dense(both))
    other = torch.randn_like(own)  # what is known is not computed
    assert torch.equal(encoder.backbone(images, other)[:, : own.shape[1]], 0.75 * other)
    with pytest.raises(BadInput, match="sv_side 'no_such_model'"):
        SVEncoder(24, options=SMALL, side="no_such_model")
    with pytest.raises(BadInput, match="sv_side_alone is 1"):
        GAIRConfig(sv_side_alone=1)


def test_in_training_the_net_beside_stands_alone_for_some_photos():
    encoder = SVEncoder(24, options=SMALL, **SIDE, side_alone=0.3).train()
    torch.manual_seed(0)
    known = torch.ones(1000, encoder.width - 8)
    with torch.no_grad():
        found = encoder.backbone(torch.randn(1000, 3, 8, 8), known)[:, : known.shape[1]]
    alone = (found == 0).all(1)
    assert 0.25 < alone.float().mean() < 0.35 and (found[~alone] == 1).all()


@pytest.mark.parametrize(
    "change, words",
    [
        ({"sv_model": "hf-hub:evil/model", "sv_options": {}}, "hf-hub:evil/model.*no address"),
        ({"sv_model": "hf_hub:evil/model", "sv_options": {}}, "no address of a hub or folder"),
        ({"sv_model": "local-dir:/etc", "sv_options": {}}, "local-dir:/etc.*plain names alone"),
        ({"sv_side": "hf-hub:evil/model"}, "sv_side.*plain names alone"),
        ({"sv_options": {"checkpoint_path": "/etc/passwd"}}, "checkpoint_path is not taken"),
        ({"sv_options": {"pretrained": True}}, "pretrained is not taken"),
        ({"sv_options": {"pretrained_cfg_overlay": {"file": "a"}}}, "is not taken"),
    ],
)
def test_a_config_reaches_no_hub_and_no_file(tmp_path, monkeypatch, change, words):
    def never(*_, **__):
        raise AssertionError("a network is asked")

    monkeypatch.setattr("socket.socket.connect", never)
    monkeypatch.setattr("socket.getaddrinfo", never)
    model = GAIR(GAIRConfig())
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    weights = tmp_path / "model.safetensors"
    save_file(load_file(weights), weights)  # whoever sends both need not say whose config it is
    with pytest.raises(BadInput, match=words):
        GAIR.from_pretrained(tmp_path)

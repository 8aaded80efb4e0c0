"""Whose weights went into a model, and under which licence: what travels beside its own weights.

`origins.json` in a folder of `save_pretrained` has an entry for each part that others trained; an
empty list is a model that was trained from nothing. Where the file is absent nothing is known, and
nothing is claimed. Licences are those that the loaders' docstrings in gairlib.weights state; of
other sources a licence is never guessed.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gairlib.errors import BadInput
from gairlib.files import atomic_write

FILE = "origins.json"
GAIR_PAPER = "Liu et al.: GAIR. ISPRS JPRS 237, 2026, arXiv 2503.16683"
GAIR_PUBLISHED = ("CC BY-NC 4.0", GAIR_PAPER)
_CROMA = ("MIT", "Fuller et al.: CROMA. NeurIPS 2023, arXiv 2311.00566")
_GEOCLIP = ("MIT", "Vivanco Cepeda et al.: GeoCLIP. NeurIPS 2023, arXiv 2309.16020")
_SATCLIP = ("MIT", "Klemmer et al.: SatCLIP. AAAI 2025, arXiv 2311.17179")
_GALILEO = ("MIT", "Tseng et al.: Galileo. ICML 2025, arXiv 2502.09356")
PUBLISHED = {  # how an id of a hub begins: licence and citation
    "zpl99/": GAIR_PUBLISHED,
    "pingl/gair": GAIR_PUBLISHED,  # where zpl99/GAIR says that its weights are
    "antofuller/croma": _CROMA,
    "mvrl/geoclip": _GEOCLIP,
    "vicentevivan/geo-clip": _GEOCLIP,
    "microsoft/satclip": _SATCLIP,
    "nasaharvest/galileo": _GALILEO,
    "timm/": ("that of the model, on its hub page", "Wightman: PyTorch Image Models"),
}


@dataclass(frozen=True)
class Origin:
    """part: "rs", "sv", "location", or "model"; source: a file, asset or hub id as it was named."""

    part: str
    source: str
    licence: str
    citation: str = ""


def of(part: str, source: str) -> Origin:
    """Of a source that states no licence itself: what is known of its id, or "unknown"."""
    name = source.removeprefix("hub:").lower()
    for start, (licence, citation) in PUBLISHED.items():
        if source.startswith("hub:") and name.startswith(start):
            return Origin(part, source, licence, citation)
    return Origin(part, source, f"unknown, see {source}")


def write(folder: str | Path, origins: Sequence[Origin] | None) -> None:
    """Beside the weights; None, nothing known, leaves no file."""
    path = Path(folder) / FILE
    if origins is None:
        path.unlink(missing_ok=True)
        return
    with atomic_write(path) as part:
        part.write_text(json.dumps([asdict(origin) for origin in origins], indent=1) + "\n")


def read(folder: str | Path) -> tuple[Origin, ...] | None:
    """What `write` wrote, None where there is no such file."""
    path = Path(folder) / FILE
    if not path.is_file():
        return None
    try:
        return tuple(Origin(**entry) for entry in json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise BadInput(
            f"{path}: a list of entries with part, source, licence and citation is needed ({error})"
        ) from None


def licence(origins: Sequence[Origin] | None, source: str | Path) -> str:
    """One sentence on the weights in `source`, for whoever passes on what they made."""
    if origins is None:
        return f"unknown, see {source}"
    if not origins:
        return "trained from nothing: the sample's are MIT; data keep their own licences"
    each = "; ".join(f"{o.part}: {o.licence} ({o.source})" for o in origins)
    return (
        f"started from others' weights, whose licences hold: {each}; data keep their own licences"
    )

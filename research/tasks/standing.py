"""What a run's weights can be asked: towers without weights, and towers that share no space.

A run with too few pairs to train may have others' towers, each by itself, or none at all
(gairlib.train.fallback); its provenance.json says so, and what would mean nothing is skipped.
"""

import json
from pathlib import Path

from gairlib.errors import Skipped
from gairlib.weights.towers import TOWERS

APART = (
    "the towers were trained apart from each other and share no space, so a similarity between "
    "photos, chips and places means nothing"
)


def _about(checkpoint: str | Path) -> dict:
    path = Path(checkpoint).parent / "provenance.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def untrained(checkpoint: str | Path) -> set[str]:
    """Towers ("rs", "sv", "location") of a model folder that no weights were at hand for."""
    return set(_about(checkpoint).get("untrained", ()))


def why_not(checkpoint: str | Path, *towers: str, together: bool = False) -> str:
    """Why these towers, or (together) similarities between towers, cannot be asked; "" where they
    can."""
    about = _about(checkpoint)
    lacking = [TOWERS[name] for name in towers if name in about.get("untrained", ())]
    if lacking:
        verb = "is" if len(lacking) == 1 else "are"
        return f"the {' and the '.join(lacking)} {verb} untrained: no weights were at hand"
    return "" if about.get("aligned", True) or not together else APART


def need(checkpoint: str | Path, *towers: str, together: bool = False) -> None:
    """Raises Skipped with the reason of `why_not`."""
    if why := why_not(checkpoint, *towers, together=together):
        raise Skipped(why)


def need_any(checkpoint: str | Path) -> None:
    """Raises Skipped where no tower has weights."""
    if set(TOWERS) <= untrained(checkpoint):
        raise Skipped(why_not(checkpoint, *TOWERS))

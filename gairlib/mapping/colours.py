"""Colours of classes on a map: what their names suggest, else well apart."""

from collections.abc import Mapping, Sequence

from gairlib.errors import BadInput

KNOWN = {  # words in a class's name
    "water": "#3f7fbf",
    "lake": "#5b97d1",
    "river": "#2f66a3",
    "wetland": "#7fb5b5",
    "forest": "#2f6b3a",
    "wood": "#3f8049",
    "tree": "#4c9058",
    "scrub": "#a3a35c",
    "shrub": "#b5a86a",
    "grass": "#9ccc65",
    "meadow": "#c3d96b",
    "pasture": "#b7cf8a",
    "farm": "#e8c468",
    "crop": "#dfae4c",
    "arable": "#f0d58c",
    "bare": "#c9ad93",
    "sand": "#ead9b5",
    "residential": "#d1615d",
    "built": "#c04f4b",
    "urban": "#b0403c",
    "industrial": "#8e6c8a",
    "commercial": "#b279a2",
    "road": "#6b6b6b",
    "snow": "#eef3f7",
    "cloud": "#d9d9d9",
}
OTHERS = (
    *("#4c78a8", "#f58518", "#54a24b", "#e45756", "#72b7b2", "#eeca3b", "#b279a2", "#ff9da6"),
    *("#9d755d", "#7f7f7f", "#1b4f72", "#a04000", "#196f3d", "#7b241c", "#5b2c6f", "#b7950b"),
)


def colours_of(classes: Sequence[str], given: Mapping[str, str]) -> list[str]:
    """A colour "#rrggbb" for each class, the given ones first; no two alike while there are other
    ones."""
    found: dict[str, str] = {}
    for name in classes:
        if name in given:
            found[name] = _checked(name, given[name])
    taken = set(found.values())
    for name in classes:
        if name in found:
            continue
        words = [KNOWN[w] for w in sorted(KNOWN, key=name.lower().find) if w in name.lower()]
        free = (c for c in (*words, *OTHERS) if c not in taken)
        found[name] = next(free, OTHERS[len(found) % len(OTHERS)])
        taken.add(found[name])
    return [found[name] for name in classes]


def _checked(name: str, colour: str) -> str:
    digits = colour.removeprefix("#")
    try:
        good = len(bytes.fromhex(digits)) == 3 and colour.startswith("#")
    except ValueError:
        good = False
    if not good:
        raise BadInput(f'colours[{name!r}] is {colour!r}: "#rrggbb" is needed')
    return colour.lower()

"""The box in the corner: what dots and colours mean, how strongly the layer shows, what is missing.

The box is templates/legend.html.
"""

import matplotlib as mpl
import numpy as np

from gairlib.data.scene import Scene
from research.evaluation.finding import Finding
from research.figures import style
from research.maps.overlays import FLAT, Layer
from research.pipeline import templates

COLOURS = {"photo": style.SKY, "chosen": style.VERMILION, "found": style.GREEN}


def render(
    scene: Scene,
    layers: dict[str, Layer],
    photos: int,
    chosen: int | None,
    finding: Finding | None,
    notes: list[str],
    *,
    synthetic: bool,
    swipe: bool = False,
    basemap: str = "",
) -> str:
    """HTML of the box. photos: how many; chosen: position of the chosen one; notes: sentences on
    what is missing; swipe: whether the map has one."""
    parts = [
        {"name": name, "note": layer.note, "ticks": _ticks(layer)} for name, layer in layers.items()
    ]
    return (
        templates.environment("research.maps")
        .get_template("legend.html")
        .render(
            scene=scene,
            layers=parts,
            photos=photos,
            chosen=chosen,
            finding=finding,
            notes=notes,
            synthetic=synthetic,
            swipe=swipe,
            basemap=basemap,
            colours=COLOURS,
            ramp=ramp(),
        )
    )


def ramp() -> str:
    """The colours of cosine similarity, from low to high, as the stops of a CSS gradient."""
    colours = mpl.colormaps[style.SIMILARITY](np.linspace(0, 1, 7))
    return ", ".join(map(mpl.colors.to_hex, colours))


def _ticks(layer: Layer) -> list[float]:
    """Values under the colour bar; [] for a layer without a scale."""
    if layer.limits is None or layer.limits[1] - layer.limits[0] < FLAT:
        return []
    low, high = layer.limits
    return [low, (low + high) / 2, high]

"""The box in the corner: what dots and colours mean, how strongly the layer shows, what is missing.

Parts that belong to one layer carry its name in `data-layer`; map.js shows those of the layer that
is on.
"""

import html as markup

import matplotlib as mpl
import numpy as np

from gairlib.data.scene import Scene
from gairlib.embed.field import Finding
from research.figures import style
from research.maps.overlays import FLAT, Layer

OPACITY = (
    '<label>opacity <input type="range" class="gairlib-opacity" min="0" max="1" step="0.05" '
    'value="0.85" aria-label="opacity of the layer on top" '
    "oninput=\"document.documentElement.style.setProperty('--top', this.value)\"></label>"
)


def legend_html(
    scene: Scene,
    layers: dict[str, Layer],
    photos: int,
    chosen: int | None,
    finding: Finding | None,
    notes: list[str],
    synthetic: bool,
    *,
    swipe: tuple[str, str] | None = None,
    basemap: str = "",
) -> str:
    """HTML of the box. notes: sentences on what is missing; swipe: (variable, name) of the layer
    on its right."""
    rows = []
    if not photos:
        notes = ["This scene has no photos.", *notes]
    else:
        rows.append(_dot(style.SKY, "#fff") + "photo; click for its picture and its neighbours")
    if chosen is not None:
        rows.append(_dot(style.VERMILION, "#fff") + "the chosen photo's true position")
    if finding is not None:
        rows.append(
            _dot("transparent", style.GREEN)
            + f"most similar place: {finding.error_m:.0f} m off (guessing: {finding.guess_m:.0f} m)"
        )
    rows = "".join(f'<div class="row">{r}</div>' for r in rows)
    parts = "".join(_layer(name, layer) for name, layer in layers.items())
    if swipe:
        parts += (
            '<div class="part" data-layer="swipe" hidden>Move the handle: drag it, or use the '
            "arrow keys. Colours: three principal components; they agree on both sides as far as "
            "the two spaces do.</div>"
        )
    missing = "".join(f'<div class="missing">{markup.escape(n)}</div>' for n in notes)
    if basemap:
        missing += no_tiles(basemap)
    kind = "synthetic data" if synthetic else "real data"
    head = f"<summary><b>{markup.escape(scene.id)}</b> &middot; {kind}</summary>"
    foot = '<div class="small">North is up (EPSG:3857).</div>'
    return (
        f'<details class="legend gairlib-legend" open>{head}{rows}{parts}'
        f"{OPACITY if layers else ''}{missing}{foot}</details>"
    )


def no_tiles(basemap: str) -> str:
    """The sentence that map.js shows where no tile of the basemap can be loaded."""
    return (
        f'<div class="missing" id="gairlib-no-tiles" hidden>The basemap '
        f"{markup.escape(basemap)} cannot be loaded here; nothing else needs it.</div>"
    )


def _dot(fill: str, line: str) -> str:
    return f'<i style="background:{fill};border-color:{line}"></i>'


def _layer(name: str, layer: Layer) -> str:
    """The note of one layer, with a colour bar and its numbers where it has a scale."""
    bar = ""
    if layer.limits is not None and layer.limits[1] - layer.limits[0] >= FLAT:
        low, high = layer.limits
        stops = ", ".join(
            mpl.colors.to_hex(mpl.colormaps[style.SIMILARITY](v)) for v in np.linspace(0, 1, 7)
        )
        numbers = "".join(f"<span>{v:.2f}</span>" for v in (low, (low + high) / 2, high))
        bar = f'<div class="ramp" style="background:linear-gradient(90deg,{stops})"></div>'
        bar += f'<div class="ticks">{numbers}</div>'
    if not (layer.note or bar):
        return ""
    return (
        f'<div class="part" data-layer="{markup.escape(name, quote=True)}" hidden>{bar}'
        f"<div>{markup.escape(layer.note)}</div></div>"
    )

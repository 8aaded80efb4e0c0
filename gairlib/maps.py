"""One scene on an interactive map (leafmap, on folium), as a single HTML file without a network.

Pictures come from `gairlib.overlays`, warped to EPSG:3857. There are no tile layers; `save` writes
Leaflet itself into the page (from the XStatic package) in place of the CDN addresses of leafmap
and folium, so that the file opens anywhere, from a disk or an e-mail too.
"""

import base64
import html as markup
import re
from importlib import resources
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd

from gairlib.errors import BadInput
from gairlib.field import Finding
from gairlib.figures import style
from gairlib.offline import external_loads
from gairlib.overlays import data_uri, warp
from gairlib.scenes import Scene

POPUP = 220  # pixels: width of a pop-up's content

# What folium asks a CDN for and these maps have no use for (no icons, no Bootstrap widgets).
DISPENSABLE = re.compile(
    r"leaflet@|jquery|bootstrap|awesome|glyphicons|python-visualization/folium", re.I
)
# folium's pop-ups make their node by jQuery: `$("<div>...</div>")[0]`
DOLLAR = (
    "window.$ = function (text) { var t = document.createElement('template');"
    " t.innerHTML = text.trim(); return [t.content.firstElementChild]; };"
)


# ---------------------------------------------------------------------------- the map


def scene_map(
    scene: Scene,
    true_colour: np.ndarray,
    layers: dict[str, tuple[np.ndarray, tuple | None]],
    *,
    photos: pd.DataFrame | None = None,
    thumbnails: list[np.ndarray] | None = None,
    chosen: int | None = None,
    finding: Finding | None = None,
    legend: str = "",
    synthetic: bool = False,
    height: int = 560,
):
    """A leafmap map of one scene; save it with `save`, show it in a notebook with `frame`.

    true_colour: uint8 [h, w, 3] over the whole scene, or (picture, window). layers: name ->
    (picture, window or None); one of them at a time lies over the true colours, the last one at
    first, as strongly as the slider says. photos: rows with photo_id, lon, lat and what the
    pop-ups should list; thumbnails: their pictures. chosen: position of the chosen photo among
    them; finding: the place found for it. Without photos the map has no markers and says so.
    """
    import leafmap.foliumap as leafmap
    from folium import CircleMarker, FeatureGroup, LayerControl, Popup
    from folium.raster_layers import ImageOverlay

    base = true_colour if isinstance(true_colour, tuple) else (true_colour, None)
    west, south, east, north = warp(base[0], scene, base[1])[1]
    m = leafmap.Map(
        center=[(south + north) / 2, (west + east) / 2],
        zoom=14,
        tiles=None,
        height=f"{height}px",
        fullscreen_control=False,
        draw_control=False,
        max_zoom=21,
        zoom_snap=0.25,  # so that the scene fills whatever window there is
    )
    credit = "synthetic scene" if synthetic else "contains modified Copernicus Sentinel data"
    for name, (picture, window) in ({"": base} | layers).items():
        rgba, (w, s, e, n) = warp(picture, scene, window)
        ImageOverlay(
            data_uri(rgba), [[s, w], [n, e]], name=name, overlay=not name, control=bool(name),
            attribution=credit, pixelated=True, class_name="" if not name else "gairlib-top",
            show=name in ("", *list(layers)[-1:]),
        ).add_to(m)  # fmt: skip
    FeatureGroup(name="True colour", overlay=False, show=not layers).add_to(m)

    def turn(lon: float) -> float:
        """The longitude in the turn of the globe that the scene is drawn in."""
        return lon + 360.0 * round(((west + east) / 2 - lon) / 360.0)

    if photos is not None and len(photos):
        group = FeatureGroup(name=f"Photos ({len(photos)})").add_to(m)
        for i, row in enumerate(photos.to_dict("records")):
            here = i == chosen
            CircleMarker(
                (row["lat"], turn(row["lon"])),
                radius=9 if here else 5,
                color="#ffffff",
                weight=3 if here else 1.5,
                fill_color=style.VERMILION if here else style.SKY,
                fill_opacity=1.0,
                popup=Popup(_popup(row, thumbnails[i] if thumbnails else None), max_width=260),
            ).add_to(group)
    if finding is not None:
        group = FeatureGroup(name="Most similar place").add_to(m)
        text = f"Most similar place: cosine {finding.cosine:.2f}, {finding.error_m:.0f} m off"
        CircleMarker(
            (finding.lat, turn(finding.lon)), radius=9, color=style.GREEN, weight=4, fill=False,
            popup=Popup(text, max_width=220),
        ).add_to(group)  # fmt: skip
    LayerControl(collapsed=False).add_to(m)
    m.fit_bounds([[south, west], [north, east]], max_zoom=21)
    m.gairlib_legend = _legend(scene, legend, photos, chosen, finding, synthetic, bool(layers))
    return m


def _popup(row: dict, thumbnail: np.ndarray | None) -> str:
    image = ""
    if thumbnail is not None:
        label = markup.escape(f"photo {row['photo_id']}", quote=True)
        # a stated height: Leaflet moves the map for the pop-up before the picture is decoded
        height = round(POPUP * thumbnail.shape[0] / thumbnail.shape[1])
        image = f'<img src="{data_uri(thumbnail, "jpeg")}" alt="{label}" '
        image += f'width="{POPUP}" height="{height}">'
    shown = [(k, v) for k, v in row.items() if k not in ("photo_id", "lon", "lat") and v == v]
    shown = [(k, f"{v:.3g}" if isinstance(v, float) else v) for k, v in shown if v is not None]
    rows = "".join(f"<br>{markup.escape(str(k))}: {markup.escape(str(v))}" for k, v in shown)
    place = f"{row['lat']:.5f}, {row['lon']:.5f}"
    text = f"<b>{markup.escape(str(row['photo_id']))}</b><br>{place} (lat, lon){rows}"
    # a backtick or ${ would end the JavaScript template string that folium writes this into
    text = text.replace("`", "&#96;").replace("${", "&#36;{").replace("\\", "&#92;")
    return f'<div style="width:{POPUP}px">{image}{text}</div>'


def _legend(scene, text, photos, chosen, finding, synthetic, slider) -> str:
    """HTML of the box in the corner."""

    def dot(fill: str, line: str) -> str:
        return f'<i style="background:{fill};border-color:{line}"></i>'

    rows = []
    if photos is None or not len(photos):
        rows.append("This scene has no photos.")
    else:
        rows.append(dot(style.SKY, "#fff") + "photo; click for its picture")
    if chosen is not None:
        rows.append(dot(style.VERMILION, "#fff") + "the chosen photo's true position")
    if finding is not None:
        rows.append(
            dot("transparent", style.GREEN)
            + f"most similar place: {finding.error_m:.0f} m off (guessing: {finding.guess_m:.0f} m)"
        )
    ramp = ""
    if text:
        stops = ", ".join(
            mpl.colors.to_hex(mpl.colormaps[style.SIMILARITY](v)) for v in np.linspace(0, 1, 7)
        )
        ramp = f'<div class="ramp" style="background:linear-gradient(90deg,{stops})"></div>'
        ramp += f"<div>{markup.escape(text)}</div>"
    if slider:
        ramp += (
            '<label>opacity <input type="range" min="0" max="1" step="0.05" value="0.85" oninput='
            "\"document.documentElement.style.setProperty('--top', this.value)\"></label>"
        )
    kind = "synthetic data" if synthetic else "real data"
    head = f"<summary><b>{markup.escape(scene.id)}</b> &middot; {kind}</summary>"
    rows = "".join(f"<div>{r}</div>" for r in rows)
    return f'<details class="legend" open>{head}{rows}{ramp}</details>'


# ---------------------------------------------------------------------------- the page

STYLE = """
html, body { height: 100%; margin: 0; background: #e9edf0; }
.leaflet-container { font: 13px/1.45 system-ui, sans-serif; background: #e9edf0; }
.folium-map { height: 100% !important; position: absolute !important; inset: 0; }
.gairlib-top { opacity: var(--top, 0.85) !important; }
.legend { position: absolute; left: 10px; bottom: 52px; z-index: 900; max-width: 270px;
  font: 12.5px/1.5 system-ui, sans-serif; padding: 8px 10px; border-radius: 6px;
  background: rgba(255,255,255,.93); color: #222; box-shadow: 0 1px 4px rgba(0,0,0,.35); }
.legend i { display: inline-block; width: 9px; height: 9px; border: 2px solid; border-radius: 50%;
  margin-right: 6px; box-shadow: 0 0 0 1px #888; vertical-align: -1px; }
.legend .ramp { height: 9px; margin: 6px 0 2px; border-radius: 2px; }
.legend summary { cursor: pointer; }
.legend label { display: flex; gap: 8px; align-items: center; }
.legend input { flex: 1; min-width: 60px; }
.leaflet-popup-content { margin: 10px 12px; overflow-wrap: anywhere; }
.leaflet-control-layers { font-size: 13px; }
@media (max-width: 600px) { .legend { max-width: 190px; font-size: 11.5px; } }
@media (prefers-color-scheme: dark) {
  html, body, .leaflet-container { background: #14181c; }
  .legend, .leaflet-control-layers, .leaflet-popup-content-wrapper, .leaflet-popup-tip,
  .leaflet-bar a { background: #22282e !important; color: #e6e9ec !important; }
  .leaflet-control-layers-toggle { filter: invert(1); }
  .leaflet-control-attribution, .leaflet-control-scale-line {
    background: rgba(34,40,46,.85) !important; color: #cdd3d8 !important;
    text-shadow: none !important; }
  .leaflet-control-attribution a { color: #7db8ff; }
}
"""


def _leaflet() -> str:
    """Leaflet's style sheet and script, images embedded."""
    folder = resources.files("xstatic.pkg.leaflet") / "data"

    def image(match: re.Match) -> str:
        content = (folder / "images" / match.group(1)).read_bytes()
        return f"url(data:image/png;base64,{base64.b64encode(content).decode()})"

    css = re.sub(r"url\(images/([\w.-]+)\)", image, (folder / "leaflet.css").read_text("utf-8"))
    js = (folder / "leaflet.js").read_text("utf-8").replace("//# sourceMappingURL", "// ")
    return f"<style>{css}</style><script>{js}</script><script>{DOLLAR}</script>"


def page(m) -> str:
    """The map as the text of one HTML page that loads nothing from outside; BadInput otherwise."""
    text = m.get_root().render()
    tags = re.findall(r'<script src="http[^>]*></script>|<link[^>]*href="http[^>]*/?>', text)
    for tag in tags:
        if not DISPENSABLE.search(tag):
            raise BadInput(f"this map uses a plugin that would need a network: {tag}")
        text = text.replace(tag, "")
    text = text.replace("<head>", f"<head><title>Map</title>{_leaflet()}", 1)
    text = text.replace("</head>", f"<style>{STYLE}</style></head>", 1)
    text = text.replace("</body>", getattr(m, "gairlib_legend", "") + "</body>", 1)
    text = "\n".join(line.rstrip() for line in text.splitlines() if line.strip())
    loads = external_loads(text)
    if loads:
        raise BadInput(f"this map would need a network for {loads[0]}; use image overlays")
    return text


def save(m, path: str | Path) -> Path:
    """Write the map's page, creating folders."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(m), encoding="utf-8")
    return path


def frame(m, height: int = 560):
    """The map inside a notebook: its whole page in an iframe, so that the HTML report has it."""
    from IPython.display import HTML

    content = markup.escape(page(m), quote=True)
    return HTML(
        f'<div><iframe title="map" style="width:100%;height:{height}px;border:0" '
        f'srcdoc="{content}"></iframe></div>'
    )


def popup_columns(photos: pd.DataFrame) -> pd.DataFrame:
    """The columns of a manifest that a pop-up should list, as far as there are any."""
    wanted = "photo_id lon lat split heading captured_at weather view_direction licence".split()
    return photos[[c for c in wanted if c in photos]]

"""One scene on an interactive map (leafmap, on folium), as a single HTML file without a network.

Pictures come from `overlays`, warped to EPSG:3857, and lie one at a time over the true colours; two
of them can be set against each other with a swipe. Photos open pop-ups with their nearest
neighbours (`popups`). What folium cannot do is in `map.js`; `page` puts everything into one file.
There are no tile layers unless a basemap is asked for, and without a network the map is then as it
is without one.
"""

import numpy as np
import pandas as pd

from gairlib.data.scene import Scene
from gairlib.errors import BadInput
from research.evaluation.finding import Finding
from research.maps import legend
from research.maps.overlays import LOSSLESS, SIDE, Layer, credit, data_uri, warp
from research.maps.page import frame, page, save
from research.maps.popups import photo_table, popup_columns

__all__ = ["frame", "page", "popup_columns", "save", "scene_map"]

OVERLAY_BYTES = 4_500_000  # of all pictures of the ground together, as they stand in the page
GROUND = "gairlib-ground"  # the pane of the true colours, over a basemap's tiles
SIDES = (SIDE, 1000, 700, 500)  # pixels of an overlay: the first with which they fit is taken


def scene_map(
    scene: Scene,
    true_colour: Layer,
    layers: dict[str, Layer],
    *,
    swipe: tuple[Layer, str] | None = None,
    photos: pd.DataFrame | None = None,
    thumbnails: list[np.ndarray] | None = None,
    vectors: np.ndarray | None = None,
    chosen: int | None = None,
    finding: Finding | None = None,
    missing: list[str] | None = None,
    basemap: str = "",
    synthetic: bool = False,
    height: int = 560,
):
    """A leafmap map of one scene; save it with `save`, show it in a notebook with `frame`.

    layers: name -> picture; one of them at a time lies over `true_colour` (which can be switched
    off), the last one at first, as strongly as the slider says. swipe: (picture on the left, name
    of the layer on the right of a handle that the reader moves). photos: rows with photo_id, lon,
    lat and what the pop-ups should list; thumbnails: their pictures; vectors [n, D]: their
    embeddings, for the nearest neighbours. chosen: position of the chosen photo among them;
    finding: the place found for it. missing: sentences on what this scene lacks. basemap: a
    provider of xyzservices, such as "OpenStreetMap.Mapnik"; "" for none.
    """
    import leafmap.foliumap as leafmap
    from folium import FeatureGroup, LayerControl
    from folium.map import CustomPane
    from folium.raster_layers import ImageOverlay

    if swipe is not None and swipe[1] not in layers:
        raise BadInput(f"swipe: there is no layer {swipe[1]!r}; there are {', '.join(layers)}")
    pictures = {"": true_colour} | layers | ({"swipe": swipe[0]} if swipe else {})
    drawn = _encode(pictures, scene)
    _, (west, south, east, north) = drawn[""]
    centre = (west + east) / 2
    m = leafmap.Map(
        center=[(south + north) / 2, centre],
        zoom=14,
        tiles=None,
        height=f"{height}px",
        fullscreen_control=False,
        draw_control=False,
        max_zoom=21,
        zoom_snap=0.25,  # so that the scene fills whatever window there is
    )
    # the ground in a pane of its own: switched off and on again, it is still under the layers
    CustomPane(GROUND, z_index=300).add_to(m)
    names = {}
    for name in ["", *layers]:
        uri, (w, s, e, n) = drawn[name]
        overlay = ImageOverlay(
            uri,
            [[s, w], [n, e]],
            name=name or "True colour",
            overlay=not name,
            attribution=credit(scene, synthetic),
            pixelated=True,
            show=name in ("", *list(layers)[-1:]),
            pane="overlayPane" if name else GROUND,
            class_name="gairlib-top" if name else "gairlib-base",
        ).add_to(m)
        names[name] = overlay.get_name()
    FeatureGroup(name="No layer on top", overlay=False, show=not layers).add_to(m)

    count = 0 if photos is None else len(photos)
    table = photo_table(photos, thumbnails, vectors, chosen, centre) if count else None
    group = FeatureGroup(name=f"Photos ({count})").add_to(m) if count else None
    found = FeatureGroup(name="Most similar place").add_to(m) if finding is not None else None
    control = LayerControl(collapsed=False).add_to(m)
    m.fit_bounds([[south, west], [north, east]], max_zoom=21)

    notes = list(missing or []) + (table.notes if table else [])
    m.gairlib_legend = legend.render(
        scene,
        layers,
        count,
        chosen,
        finding,
        notes,
        synthetic=synthetic,
        swipe=swipe is not None,
        basemap=basemap,
    )
    m.gairlib_title = f"Map of {scene.id}"
    m.gairlib_data = {
        "map": m.get_name(),
        "control": control.get_name(),
        "photos": {"group": group.get_name(), "rows": table.rows} if table else None,
        "finding": _ring(found, finding, centre) if found else None,
        "swipe": _swipe(swipe, drawn, names) if swipe else None,
        "basemap": basemap_tiles(basemap) if basemap else None,
        "colours": legend.COLOURS,
    }
    return m


def _encode(pictures: dict[str, Layer], scene: Scene) -> dict[str, tuple[str, tuple]]:
    """Name -> (data URI, bounds), warped as finely as OVERLAY_BYTES allow for all together."""
    for side in SIDES:
        drawn = {}
        for name, layer in pictures.items():
            rgba, bounds = warp(layer.picture, scene, layer.window, side)
            drawn[name] = data_uri(rgba, "webp", LOSSLESS), bounds
        if sum(len(uri) for uri, _ in drawn.values()) <= OVERLAY_BYTES:
            break
    return drawn


def _ring(group, finding: Finding, centre: float) -> dict:
    text = f"Most similar place: cosine {finding.cosine:.2f}, {finding.error_m:.0f} m off"
    lon = finding.lon + 360.0 * round((centre - finding.lon) / 360.0)
    return {"group": group.get_name(), "at": [finding.lat, lon], "text": text}


def _swipe(swipe: tuple[Layer, str], drawn: dict, names: dict) -> dict:
    uri, (west, south, east, north) = drawn["swipe"]
    left, right = swipe[0].note or "left", swipe[1]
    return {
        "name": f"Swipe: {left} | {right.lower()}",
        "left": left,
        "right": right.lower(),
        "url": uri,
        "bounds": [[south, west], [north, east]],
        "layer": names[right],
    }


def basemap_tiles(name: str) -> dict:
    """Tiles under the overlays, for a reader with a network: a provider's name in xyzservices, such
    as "OpenStreetMap.Mapnik" -> {name, url, options} for Leaflet. map.js takes the layer away again
    where no tile of it can be loaded. BadInput for an unknown name and one that needs a key."""
    import xyzservices.providers as providers

    try:
        provider = providers.query_name(name)
    except ValueError as problem:
        raise BadInput(
            f"basemap {name!r}: xyzservices has no such provider; "
            "OpenStreetMap.Mapnik and Esri.WorldImagery are two that need no key"
        ) from problem
    if provider.requires_token():
        raise BadInput(
            f"basemap {provider.name}: this provider needs a key, which would stand in the page; "
            "take one without, such as OpenStreetMap.Mapnik"
        )
    credit = provider.get("html_attribution") or provider.get("attribution", provider.name)
    return {
        "name": provider.name,
        "url": provider.url,
        "options": {k: v for k, v in provider.items() if k not in ("url", "name")}
        | {"attribution": credit, "maxNativeZoom": provider.get("max_zoom", 18), "maxZoom": 21},
    }

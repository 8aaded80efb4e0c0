"""The explorer in JupyterLab: two maps to click on (ipyleaflet) and what they answer (ipywidgets).

Thin on purpose: every answer comes from `explorer`, its words from templates/answers.html. No tiles
are asked for, so the maps work without a network; the world's outline is drawn by places of a
table. Without a browser the widgets are made all the same, and the handlers can be called as a
click would call them.

CSS classes that a test or a style sheet can hold on to: gairlib-scene, gairlib-world (the maps),
gairlib-near, gairlib-place, gairlib-world-near (the answers), gairlib-photos (the choice of photo),
gairlib-opacity, gairlib-dots (how many of the photos are drawn), gairlib-credit, gairlib-heading
(`turning`).
"""

import time

import ipywidgets
import numpy as np
from ipyleaflet import CircleMarker, GeoJSON, ImageOverlay, Map, ScaleControl

from research.evaluation.finding import FLAT
from research.figures import style
from research.maps.explorer import Explorer, Picture
from research.maps.legend import ramp
from research.maps.overlays import data_uri, mercator
from research.pipeline import templates

WORLD_ZOOM = 1.25  # of Leaflet: the world is 256 * 2**zoom pixels wide
MARKERS = 300  # photos that are drawn; a browser draws more only slowly
DOT = {"radius": 5, "color": "#ffffff", "weight": 1.5, "fillColor": style.SKY, "fillOpacity": 1.0}
ASK = "<i>Click anywhere in the scene.</i>"
ASK_WORLD = "<i>Click anywhere on Earth.</i>"
WITHOUT = "<b>This folder has no photo to compare with.</b> The scene and the world still work."


class SceneClicks:
    """The scene: click a spot for the photos that look like it, or a photo for where it could be.

    true_colour: uint8 RGBA over the field's window; credit: the line under the map (see
    `overlays.credit`). `view` is what to display; `spot` and `choose` are what a click calls.
    """

    def __init__(
        self, explorer: Explorer, true_colour: np.ndarray, height: int = 460, credit: str = ""
    ):
        self.explorer = explorer
        ground = explorer.ground(true_colour)
        self.map = _map(ground, height, "scene")
        self.map.add(_overlay(ground))
        self.similarity, self.asked = None, None
        self.here = _ring(style.YELLOW)
        self.best = _ring(style.GREEN)
        self.truth = _ring(style.VERMILION)
        rows = explorer.inside()
        if rows:
            dots = GeoJSON(data=_points(explorer, rows[:MARKERS]), point_style=DOT)
            dots.on_click(lambda feature=None, **_: self.choose(feature["properties"]["row"]))
            self.map.add(dots)
        names = [(str(explorer.photos.loc[i, "photo_id"]), i) for i in rows]
        self.photos = ipywidgets.Dropdown(
            options=[("choose a photo", None), *names], value=None, description="photo"
        )
        self.photos.add_class("gairlib-photos")
        self.opacity = ipywidgets.FloatSlider(
            value=0.85, min=0, max=1, step=0.05, description="opacity", continuous_update=False
        )
        self.opacity.add_class("gairlib-opacity")
        self.near = _answer("gairlib-near", ASK if len(explorer.photos) else WITHOUT)
        self.place = _answer("gairlib-place", "")
        self.photos.observe(lambda change: self._chosen(change["new"]), "value")
        self.opacity.observe(lambda change: self._chosen(self.photos.value), "value")
        self.map.on_interaction(self._clicked)
        side = [self.photos, self.opacity, self.place, self.near]
        if len(rows) > MARKERS:
            said = f"{MARKERS} of {len(rows)} dots drawn; all are in the list"
            side.insert(1, _small(said, "gairlib-dots"))
        self.view = _view(self.map, credit, side)

    def _clicked(self, **event):
        if event.get("type") == "click":
            lat, lon = event["coordinates"]
            self.spot(lon, lat)

    def spot(self, lon: float, lat: float) -> None:
        """Answer a click at (lon, lat)."""
        start, self.asked = time.perf_counter(), (lon, lat)
        answer = self.explorer.at(lon, lat)
        self.here.location = (lat, lon)
        _show(self.map, self.here)
        self.near.value = _said("spot", answer) + _took(start)

    def again(self) -> None:
        """Answer the last spot and the last photo anew, as after another reading of the field."""
        if self.asked:
            self.spot(*self.asked)
        self._chosen(self.photos.value)

    def choose(self, row: int) -> None:
        """Answer the choice of the photo in that row of the gallery."""
        listed = row in [value for _, value in self.photos.options]
        if listed and self.photos.value != row:
            self.photos.value = row  # whose observer answers
        else:
            self._chosen(row)

    def _chosen(self, row: int | None) -> None:
        if row is None:
            return
        start = time.perf_counter()
        answer = self.explorer.where(row, self.opacity.value)
        if answer.picture:
            if self.similarity is None:
                self.similarity = _overlay(answer.picture)
                self.map.add(self.similarity)
            self.similarity.url = answer.picture.uri
        self.truth.location = (answer.lat, answer.lon)
        _show(self.map, self.truth)
        if not answer.finding and self.best in self.map.layers:
            self.map.remove(self.best)  # of the photo before
        if answer.finding:
            found = answer.finding
            self.best.location = (found.lat, found.lon)
            _show(self.map, self.best)
        self.place.value = _said("place", answer, self.explorer.pictures[row]) + _took(start)


class WorldClicks:
    """The world: click a place for those whose location embedding is like its own.

    backdrop: (lon, lat) [n, 2] of places that show where land is, such as a table of cities;
    credit: the line under the map, which says where they are from.
    """

    def __init__(self, explorer: Explorer, backdrop: np.ndarray, credit: str = ""):
        self.explorer, self.similarity = explorer, None
        west, south, east, north = explorer.world_bounds
        (x0, x1), (y0, y1) = mercator(np.array([west, east]), np.array([south, north]))
        width = round(256 * 2**WORLD_ZOOM)  # pixels, so that the world fills the map
        height = round(width * (y1 - y0) / (x1 - x0))
        self.map = Map(
            layers=(),
            center=(0, 0),
            zoom=WORLD_ZOOM,
            min_zoom=WORLD_ZOOM,
            zoom_snap=0.25,
            scroll_wheel_zoom=True,
            attribution_control=False,
            world_copy_jump=False,
            # panes: land lies over the field, and both under the ring, whatever is added first
            panes={"field": {"zIndex": 310}, "land": {"zIndex": 320}},
            layout=ipywidgets.Layout(height=f"{height}px", width=f"{width}px", flex="0 0 auto"),
        )
        self.map.add_class("gairlib-world")
        self.land = ImageOverlay(
            url=_dots(backdrop, explorer),
            bounds=[[south, west], [north, east]],
            attribution="places of the tables",
            pane="land",
        )
        self.map.add(self.land)
        self.here = _ring(style.VERMILION)
        self.near = _answer("gairlib-world-near", ASK_WORLD)
        self.map.on_interaction(self._clicked)
        self.view = _view(self.map, credit, [self.near])

    def _clicked(self, **event):
        if event.get("type") == "click":
            lat, lon = event["coordinates"]
            self.place((lon + 180.0) % 360.0 - 180.0, lat)

    def place(self, lon: float, lat: float) -> None:
        """Answer a click at (lon, lat)."""
        start = time.perf_counter()
        answer = self.explorer.world(lon, float(np.clip(lat, -90.0, 90.0)))
        if self.similarity is None:
            self.similarity = _overlay(answer.picture, pane="field")
            self.map.add(self.similarity)
        self.similarity.url = answer.picture.uri
        self.here.location = (lat, lon)
        _show(self.map, self.here)
        self.near.value = _said("world", answer) + _took(start)


# ---------------------------------------------------------------------------- pieces

# flex-start: a map is as high as it was made, however long the answers beside it are
_ROW = ipywidgets.Layout(flex_flow="row wrap", width="100%", align_items="flex-start")
_SIDE = ipywidgets.Layout(width="330px", padding="0 0 0 12px")


def _view(m: Map, credit: str, side: list) -> ipywidgets.HBox:
    """The map, its credit under it, and the answers beside it."""
    shown = [m, _small(credit, "gairlib-credit")] if credit else [m]
    # overflow: a box would scroll by the pixel that a line of text is too high
    left = ipywidgets.VBox(shown, layout=ipywidgets.Layout(flex="0 0 auto", overflow="hidden"))
    return ipywidgets.HBox([left, ipywidgets.VBox(side, layout=_SIDE)], layout=_ROW)


def _map(ground: Picture, height: int, name: str) -> Map:
    west, south, east, north = ground.bounds
    (x0, x1), (y0, y1) = mercator(np.array([west, east]), np.array([south, north]))
    extent = max(x1 - x0, y1 - y0)  # metres of EPSG:3857; the world has 40,075,017 on 256 px
    zoom = np.log2(0.92 * height / 256 * 40_075_017 / extent)
    m = Map(
        layers=(),
        center=((south + north) / 2, (west + east) / 2),
        zoom_snap=0.25,
        max_zoom=21,
        zoom=float(np.floor(4 * zoom) / 4),
        scroll_wheel_zoom=True,
        attribution_control=False,
        layout=ipywidgets.Layout(height=f"{height}px", width="620px", flex="0 0 auto"),
    )
    m.add(ScaleControl(position="bottomleft", imperial=False))
    m.add_class(f"gairlib-{name}")
    return m


def _overlay(picture: Picture, **options) -> ImageOverlay:
    west, south, east, north = picture.bounds
    return ImageOverlay(url=picture.uri, bounds=[[south, west], [north, east]], **options)


def _ring(colour: str) -> CircleMarker:
    return CircleMarker(location=(0, 0), radius=10, color=colour, weight=4, fill=False)


def _show(m: Map, layer) -> None:
    """Put a layer on the map, on top of what is there."""
    if layer in m.layers:
        m.remove(layer)
    m.add(layer)


def _points(explorer: Explorer, rows: list[int]) -> dict:
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "geometry": {"type": "Point", "coordinates": explorer.lonlat[i].tolist()},
                "properties": {"row": i, "photo_id": str(explorer.photos.loc[i, "photo_id"])},
            }
            for i in rows
        ],
    }


def _dots(places: np.ndarray, explorer: Explorer) -> str:
    """Places [n, 2] as white dots with a dark edge, on a clear picture over the world."""
    west, south, east, north = explorer.world_bounds
    (x0, x1), (y0, y1) = mercator(np.array([west, east]), np.array([south, north]))
    width = 1024
    height = round(width * (y1 - y0) / (x1 - x0))
    rgba = np.zeros((height, width, 4), np.uint8)
    places = np.asarray(places, dtype=np.float64).reshape(-1, 2)
    places = places[np.abs(places[:, 1]) < north]
    x, y = mercator(places[:, 0], places[:, 1])
    i = ((x - x0) / (x1 - x0) * width).astype(int).clip(3, width - 4)
    j = ((y1 - y) / (y1 - y0) * height).astype(int).clip(3, height - 4)
    for reach, colour in ((3, (20, 30, 40, 150)), (2, (255, 255, 255, 255))):
        for dx in range(-reach + 1, reach + 1):
            for dy in range(-reach + 1, reach + 1):
                rgba[j + dy, i + dx] = colour
    return data_uri(rgba, fast=True)


def _answer(name: str, text: str) -> ipywidgets.HTML:
    box = ipywidgets.HTML(text)
    box.add_class(name)
    return box


def _small(text: str, name: str) -> ipywidgets.HTML:
    return _answer(name, _said("small", text))


def _said(macro: str, *values) -> str:
    """One of the macros of templates/answers.html, filled in."""
    environment = templates.environment("research.maps")
    environment.filters["distance"] = distance
    template = environment.get_template("answers.html", globals={"ramp": ramp(), "flat": FLAT})
    return str(getattr(template.module, macro)(*values))


def distance(metres: float) -> str:
    """Metres below a kilometre, else kilometres."""
    if metres < 1000:
        return f"{metres:.0f} m"
    return f"{metres / 1000:.1f} km" if metres < 10_000 else f"{metres / 1000:,.0f} km"


def _took(start: float) -> str:
    """Milliseconds since then, small."""
    return _said("took", 1000 * (time.perf_counter() - start))

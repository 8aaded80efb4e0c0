"""A leafmap map as the text of one HTML page that opens anywhere, from a disk or an e-mail too.

Leaflet itself goes into the page (from the XStatic package) in place of the CDN addresses that
leafmap and folium write. The page is templates/map.html, with map.css and map.js.
"""

import base64
import copy
import json
import re
from importlib import resources
from pathlib import Path

from markupsafe import Markup

from gairlib.errors import BadInput
from research.pipeline import templates
from research.pipeline.offline import external_loads
from research.pipeline.stable import counted

# What folium asks a CDN for and these maps have no use for (no icons, no Bootstrap widgets).
DISPENSABLE = re.compile(
    r"leaflet@|jquery|bootstrap|awesome|glyphicons|python-visualization/folium", re.I
)
# folium's variables, as they stand in the data for map.js
NAMES = r'"((?:map|layer_control|feature_group|image_overlay)_[0-9a-f]{32})"'

# In the data for map.js: what would end the script, a quotation that reads as an address to load,
# and what JavaScript or `splitlines` take for the end of a line.
IN_SCRIPT = {ord(c): f"\\u{ord(c):04x}" for c in "<'`\x7f\x85\u2028\u2029"}


def _leaflet() -> dict[str, Markup]:
    """Leaflet's style sheet, images embedded, and its script."""
    folder = resources.files("xstatic.pkg.leaflet") / "data"

    def image(match: re.Match) -> str:
        content = (folder / "images" / match.group(1)).read_bytes()
        return f"url(data:image/png;base64,{base64.b64encode(content).decode()})"

    css = re.sub(r"url\(images/([\w.-]+)\)", image, (folder / "leaflet.css").read_text("utf-8"))
    js = (folder / "leaflet.js").read_text("utf-8").replace("//# sourceMappingURL", "// ")
    return {"css": Markup(css), "js": Markup(js)}


def _head(html: str) -> str:
    """folium's head without what it would ask a CDN for; BadInput for a plugin that needs it."""
    for tag in re.findall(r'<script src="http[^>]*></script>|<link[^>]*href="http[^>]*/?>', html):
        if not DISPENSABLE.search(tag):
            raise BadInput(f"this map uses a plugin that would need a network: {tag}")
        html = html.replace(tag, "")
    return html


def page(m) -> str:
    """The map as the text of one HTML page that loads nothing from outside; BadInput otherwise.

    The tiles of a basemap that was asked for are what map.js tries to load, and can do without.
    """
    root = m.get_root()
    root.render()  # which fills the three parts
    data = json.dumps(getattr(m, "gairlib_data", {}), ensure_ascii=False).translate(IN_SCRIPT)
    script = root.script.render()
    declared = re.findall(r"\b(?:var|let|const) (\w+)", script)  # some on no window; no photo's id
    text = _template("map.html").render(
        title=getattr(m, "gairlib_title", "Map"),
        leaflet=_leaflet(),
        head=Markup(_head(root.header.render())),
        body=Markup(root.html.render()),
        script=Markup(script),
        legend=Markup(getattr(m, "gairlib_legend", "")),
        data=Markup(data) if data != "{}" else "",
        made=[name for name in dict.fromkeys(re.findall(NAMES, data)) if name in declared],
    )
    text = "\n".join(line.rstrip() for line in text.splitlines() if line.strip())
    loads = external_loads(text)
    if loads:
        raise BadInput(f"this map would need a network for {loads[0]}; use image overlays")
    return counted(text)


def _template(name: str):
    return templates.environment("research.maps").get_template(name)


def save(m, path: str | Path) -> Path:
    """Write the map's page, creating folders."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(m), encoding="utf-8")
    return path


def frame(m, height: int = 560, beside: str = "map.html"):
    """The map inside a notebook: its whole page in an iframe.

    The notebook's HTML page shows the file `beside` it there, which the report writes
    (research.pipeline.page). The frame has no basemap even where the saved map has one, so that it
    needs no network.
    """
    from IPython.display import HTML

    m = copy.copy(m)
    m.gairlib_data = getattr(m, "gairlib_data", {}) | {"basemap": None}
    return HTML(_template("frame.html").render(page=page(m), height=height, beside=beside))

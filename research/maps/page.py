"""A leafmap map as the text of one HTML page that opens anywhere, from a disk or an e-mail too.

Leaflet itself goes into the page (from the XStatic package) in place of the CDN addresses that
leafmap and folium write; `map.js` and `map.css`, which lie beside this file, follow.
"""

import base64
import copy
import html as markup
import json
import re
from importlib import resources
from pathlib import Path

from gairlib.errors import BadInput
from research.pipeline.offline import external_loads
from research.pipeline.stable import counted

# What folium asks a CDN for and these maps have no use for (no icons, no Bootstrap widgets).
DISPENSABLE = re.compile(
    r"leaflet@|jquery|bootstrap|awesome|glyphicons|python-visualization/folium", re.I
)
# folium's variables, as they stand in the data for map.js
NAMES = r'"((?:map|layer_control|feature_group|image_overlay)_[0-9a-f]{32})"'


def _leaflet() -> str:
    """Leaflet's style sheet and script, images embedded."""
    folder = resources.files("xstatic.pkg.leaflet") / "data"

    def image(match: re.Match) -> str:
        content = (folder / "images" / match.group(1)).read_bytes()
        return f"url(data:image/png;base64,{base64.b64encode(content).decode()})"

    css = re.sub(r"url\(images/([\w.-]+)\)", image, (folder / "leaflet.css").read_text("utf-8"))
    js = (folder / "leaflet.js").read_text("utf-8").replace("//# sourceMappingURL", "// ")
    return f"<style>{css}</style><script>{js}</script>"


def _own(name: str) -> str:
    return (resources.files("research.maps") / name).read_text("utf-8")


def page(m) -> str:
    """The map as the text of one HTML page that loads nothing from outside; BadInput otherwise.

    The tiles of a basemap that was asked for are what map.js tries to load, and can do without.
    """
    text = m.get_root().render()
    tags = re.findall(r'<script src="http[^>]*></script>|<link[^>]*href="http[^>]*/?>', text)
    for tag in tags:
        if not DISPENSABLE.search(tag):
            raise BadInput(f"this map uses a plugin that would need a network: {tag}")
        text = text.replace(tag, "")
    title = markup.escape(getattr(m, "gairlib_title", "Map"))
    text = text.replace("<html>", '<html lang="en">', 1)
    text = text.replace("<head>", f"<head><title>{title}</title>{_leaflet()}", 1)
    text = text.replace("</head>", f"<style>{_own('map.css')}</style></head>", 1)
    text = text.replace("</body>", getattr(m, "gairlib_legend", "") + "</body>", 1)
    data = getattr(m, "gairlib_data", None)
    if data is not None:
        # "</script>" in a photo's id would end the script
        given = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
        made = ", ".join(
            dict.fromkeys(re.findall(NAMES, given))
        )  # some are no properties of window
        head, _, _ = text.rpartition("</html>")
        text = f"{head}<script>{_own('map.js')}\ngairlibMap({given}, {{{made}}});</script></html>"
    text = "\n".join(line.rstrip() for line in text.splitlines() if line.strip())
    loads = external_loads(text)
    if loads:
        raise BadInput(f"this map would need a network for {loads[0]}; use image overlays")
    return counted(text)


def save(m, path: str | Path) -> Path:
    """Write the map's page, creating folders."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(m), encoding="utf-8")
    return path


def frame(m, height: int = 560):
    """The map inside a notebook: its whole page in an iframe, so that the HTML report has it.

    A report opens without a network, so the frame has no basemap even where the saved map has one.
    """
    from IPython.display import HTML

    m = copy.copy(m)
    m.gairlib_data = getattr(m, "gairlib_data", {}) | {"basemap": None}
    content = markup.escape(page(m), quote=True)
    return HTML(
        f'<div><iframe title="map" style="width:100%;height:{height}px;border:0" '
        f'srcdoc="{content}"></iframe></div>'
    )

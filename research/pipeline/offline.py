"""Does a page open without a network? Lists everything that an HTML page would load from outside.

Links that a reader may click are no matter; what counts is what the browser fetches by itself:
scripts, style sheets, pictures, frames, fonts and modules. Frames written into the page (srcdoc)
are searched as well. Addresses that a script puts together at run time are out of reach of any
reading of the text; the maps are therefore built without tile layers (research.maps.scene_map).
"""

import re
from html.parser import HTMLParser

# tag -> the attributes from which a browser loads by itself
LOADS = {
    "script": ("src",),
    "link": ("href",),
    "img": ("src", "srcset"),
    "image": ("href", "xlink:href"),
    "iframe": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
    "audio": ("src",),
    "embed": ("src",),
    "object": ("data",),
    "track": ("src",),
    "input": ("src",),
}
OUTSIDE = re.compile(r"\s*(https?:)?//", re.I)
IN_CSS = re.compile(r"""(?:url\(\s*|@import\s+)["']?((?:https?:)?//[^"')\s]+)""", re.I)
IN_JS = re.compile(
    r"""(?:\bimport\s*\(?\s*|\bfrom\s*|\bfetch\(\s*|importScripts\(\s*)["'`]((?:https?:)?//[^"'`]+)"""
)
TILES = re.compile(r"""L\.tileLayer\(\s*["']([^"']+)""")


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.inside = ""

    def handle_starttag(self, tag, attrs):
        self.inside = tag
        for name, value in attrs:
            value = value or ""
            if name in LOADS.get(tag, ()):
                addresses = value.split(",") if name == "srcset" else [value]
                self.found += [f"{tag}: {a.strip()}" for a in addresses if OUTSIDE.match(a)]
            elif name == "srcdoc":
                self.found += external_loads(value)
            elif name == "style":
                self.found += [f"style: {a}" for a in IN_CSS.findall(value)]

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside == "style":
            self.found += [f"style: {a}" for a in IN_CSS.findall(data)]
        elif self.inside == "script":
            self.found += [f"script: {a}" for p in (IN_JS, TILES) for a in p.findall(data)]


def external_loads(page: str) -> list[str]:
    """page: HTML text -> what it would fetch from outside, as "tag: address"; [] is the aim."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    return reader.found

"""An executed notebook as one HTML page: no script, style sheet or font from outside.

nbconvert's lab template asks a CDN for require.js, MathJax and Mermaid; its page is taken without
them (formulas in the notebooks are written in Unicode), follows the reader's light or dark setting
and is narrow enough for a phone. Large pictures become WebP, which every browser since 2020 shows;
the figures on disk keep PNG and vectors.

The same notebook with the same outputs gives the same bytes, so that DVC sees no change where there
is none: progress bars, whose times differ, are left out, and ids that were drawn at random (of
cells, styled tables, maps and temporary files) are counted instead.
"""

import base64
import html
import io
import json
import re
from pathlib import Path

import nbformat
from PIL import Image

from gairlib.errors import BadInput
from research.pipeline.offline import external_loads

UNDESCRIBED = "No description has been provided for this image"  # nbconvert's alt text
LARGE = 60_000  # bytes of a PNG that is worth another format
QUALITY = 88  # of WebP: no difference to the eye, also in text

# A state of a progress bar as tqdm prints it: "photos: 32%|###  | 27/84 [00:01<00:02, 26.8it/s]"
BAR = re.compile(r"[^\r\n]*\[\d+:\d\d[^\]\r\n]*\][^\r\n]*[\r\n]*")
RANDOM = re.compile(
    r"\b(T_)[0-9a-f]{5}(?=\b|_)"  # pandas' styled tables
    r"|\b([a-z_]+_)[0-9a-f]{32}\b"  # folium's elements
    r"|\b()[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"  # xarray's
    r"|(/tmp/ipykernel_)\d+/\d+\.py"  # the file names of cells in warnings
)

# The blocks of nbconvert's lab/index.html.j2 that load from outside are emptied.
TEMPLATE = """{%- extends 'index.html.j2' -%}
{%- block html_head_js -%}{%- endblock html_head_js -%}
{%- block jupyter_widgets -%}{%- endblock jupyter_widgets -%}
{%- block html_head_js_mathjax -%}{%- endblock html_head_js_mathjax -%}
{%- block html_head_js_mermaidjs -%}{%- endblock html_head_js_mermaidjs -%}
"""

STYLE = """
:root { color-scheme: light dark; }
body.jp-Notebook { max-width: 1000px; margin: 0 auto; padding: 12px 16px 48px; overflow-x: hidden; }
.jp-InputPrompt, .jp-OutputPrompt { display: none; }
.jp-Cell { padding: 4px 0; }
.jp-RenderedHTMLCommon, .jp-RenderedText pre { font-size: 15px; line-height: 1.5; }
.jp-OutputArea-output { overflow-x: auto; max-width: 100%; }
.jp-InputArea-editor { overflow-x: auto; }
.jp-OutputArea-output img, .jp-OutputArea-output svg { max-width: 100%; height: auto; }
.jp-OutputArea-output img { background: white; border-radius: 4px; }
.jp-RenderedHTMLCommon table { font-size: 13px; margin: 8px 0; border-collapse: collapse; }
.jp-RenderedHTMLCommon td, .jp-RenderedHTMLCommon th { padding: 4px 10px; text-align: right; }
.jp-RenderedHTMLCommon td:first-child, .jp-RenderedHTMLCommon th:first-child { text-align: left; }
.jp-OutputArea-output iframe { width: 100%; border: 0; border-radius: 4px; }
.jp-RenderedText[data-mime-type="application/vnd.jupyter.stderr"] { background: none; }
.jp-RenderedText[data-mime-type="application/vnd.jupyter.stderr"] pre { opacity: 0.65; }
.back { font: 14px/1.4 system-ui, sans-serif; }
@media (max-width: 600px) {
  body.jp-Notebook { padding: 8px 8px 32px; }
  .jp-RenderedHTMLCommon h1 { font-size: 24px; }
  .jp-CodeCell .jp-InputArea { font-size: 11px; }
  .jp-RenderedImage img, .jp-RenderedSVG svg, .jp-RenderedSVG img { min-width: 640px; }
}
"""


def smaller(page: str) -> str:
    """The page with its large embedded PNGs as WebP, where that halves them at least."""

    def again(match: re.Match) -> str:
        if len(match[1]) * 3 // 4 < LARGE:
            return match[0]
        file = io.BytesIO()
        with Image.open(io.BytesIO(base64.b64decode(match[1]))) as image:
            image.convert("RGBA" if image.mode in ("RGBA", "LA", "P") else "RGB").save(
                file, "WEBP", quality=QUALITY
            )
        found = base64.b64encode(file.getvalue()).decode()
        return f"data:image/webp;base64,{found}" if 2 * len(found) < len(match[1]) else match[0]

    return re.sub(r"data:image/png;base64,([A-Za-z0-9+/=\n]+)", again, page)


def counted(page: str) -> str:
    """The page with each random id (see RANDOM) replaced by its number of appearance."""
    names: dict[str, str] = {}

    def name(match: re.Match) -> str:
        return names.setdefault(match[0], f"{match[match.lastindex]}{len(names)}")

    return RANDOM.sub(name, page)


def described(page: str) -> str:
    """nbconvert's page, where a figure's text is the heading above it, for who cannot see it."""
    parts, heading = re.split(r"(<h[1-6][ >].*?</h[1-6]>)", page, flags=re.S), "Figure"
    for i, part in enumerate(parts):
        if i % 2:
            words = re.sub(r"<a class=\"anchor-link\".*?</a>|<[^>]+>", "", part, flags=re.S)
            heading = "Figure: " + " ".join(html.escape(html.unescape(words)).split())
        else:
            parts[i] = part.replace(UNDESCRIBED, heading)
    return "".join(parts)


def title(nb) -> str:
    """The text of the notebook's first H1, "" without one."""
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            match = re.search(r"^#\s+(.+)$", cell.source, re.M)
            if match:
                return match.group(1).strip()
    return ""


def convert(nb, back: str | None = None) -> str:
    """nb: executed notebook node -> HTML text; `back`: relative address of the index page."""
    from nbconvert import HTMLExporter  # a second of imports that `enter()` must not pay
    from nbconvert.preprocessors import coalescestreams

    class Page(HTMLExporter):
        template_name = "lab"
        raw_template = TEMPLATE

    exporter = Page(embed_images=True, exclude_input_prompt=True, exclude_output_prompt=True)
    name = title(nb) or "Notebook"
    nb = nbformat.from_dict(json.loads(json.dumps(nb)))  # what follows writes into its input
    nb.metadata.pop("widgets", None)
    nb, _ = coalescestreams.CoalesceStreamsPreprocessor().preprocess(nb, {})
    for number, cell in enumerate(nb.cells):
        cell["id"] = f"cell-{number}"  # papermill draws one for the parameters it puts in
        for output in cell.get("outputs", []):
            if "text" in output:
                output["text"] = BAR.sub("", output["text"])
        if "outputs" in cell:  # a bar leaves blanks
            cell.outputs = [o for o in cell.outputs if o.get("text", "something").strip()]
    page, _ = exporter.from_notebook_node(nb, resources={"metadata": {"name": name}})
    page = counted(smaller(described(page)))
    dark = exporter.environment.loader.get_source(exporter.environment, "static/theme-dark.css")[0]
    head = f'<style media="(prefers-color-scheme: dark)">{dark}</style><style>{STYLE}</style>'
    page = page.replace("</head>", head + "</head>", 1)
    if back:
        link = f'<p class="back"><a href="{back}">All results</a></p>'
        page = page.replace("<main>", "<main>" + link, 1)
    return page


def write(nb, path: str | Path, back: str | None = None) -> Path:
    """Write the page to `path`, creating folders; BadInput if it would need a network."""
    page = convert(nb, back)
    loads = external_loads(page)
    if loads:
        raise BadInput(
            f"{path}: the page would need a network for {loads[0]}; draw into the notebook instead"
        )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path

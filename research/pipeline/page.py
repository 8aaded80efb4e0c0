"""An executed notebook as one HTML page: no script, style sheet or font from outside.

nbconvert's lab template asks a CDN for require.js, MathJax and Mermaid; its page is taken without
them (formulas in the notebooks are written in Unicode), follows the reader's light or dark setting
and is narrow enough for a phone. Large pictures become WebP, which every browser since 2020 shows;
the figures on disk keep PNG and vectors.

A map that a cell shows in a frame stands beside the page as a file, which the report stage writes.

The same notebook with the same outputs gives the same bytes, so that DVC sees no change where there
is none: progress bars, whose times differ, are left out, and ids that were drawn at random (of
cells, styled tables, maps and temporary files) are counted instead.
"""

import base64
import html
import io
import json
import re
from importlib import resources
from pathlib import Path

import nbformat
import tinycss2
from PIL import Image

from gairlib.errors import BadInput
from research.pipeline.offline import external_loads
from research.pipeline.stable import counted, without_bars

UNDESCRIBED = "No description has been provided for this image"  # nbconvert's alt text
SMALL = 4000  # characters of a PNG that stays as it is
WIDTH = 900  # pixels of a picture at most; a page is 1,000 wide
QUALITY = 50  # of WebP: text in figures stays sharp
FRAMED = re.compile(r'data-page="([\w.-]+)" srcdoc="[^"]*"')  # as templates/frame.html of the maps


def webp(image: Image.Image, width: int, quality: int) -> bytes:
    """A picture as WebP, at most `width` pixels wide."""
    image = image.convert("RGBA" if image.mode in ("RGBA", "LA", "P") else "RGB")
    image.thumbnail((width, 4 * width), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=quality, method=6)
    return file.getvalue()


def used_css(head: str, body: str) -> str:
    """The head of a page, whose style sheets keep the rules and variables that the page uses: a
    twentieth of JupyterLab's."""
    classes = {c for names in re.findall(r'class="([^"]*)"', body) for c in names.split()}

    def kept(rules) -> str:
        text = []
        for rule in rules:
            if rule.type == "at-rule" and rule.lower_at_keyword == "media" and rule.content:
                inner = kept(tinycss2.parse_rule_list(rule.content, True, True))
                text += [f"@media{tinycss2.serialize(rule.prelude)}{{{inner}}}"] if inner else []
            elif rule.type == "qualified-rule":
                selectors = tinycss2.serialize(rule.prelude).split(",")
                if any(set(re.findall(r"\.([A-Za-z][\w-]*)", s)) <= classes for s in selectors):
                    text.append(tinycss2.serialize([rule]))
        return "\n".join(text)

    def sheet(match: re.Match) -> str:
        css = re.sub(r"--jp-icon-[\w-]+:\s*url\([^)]*\)\s*;?", "", match[2])
        css = kept(tinycss2.parse_stylesheet(css, skip_comments=True, skip_whitespace=True))
        return match[1] + re.sub(r"/\*.*?\*/", "", css, flags=re.S) + match[3]

    head = re.sub(r"(<style[^>]*>)(.*?)(</style>)", sheet, head, flags=re.S)
    for _ in range(3):  # a variable may be used by another alone
        wanted = set(re.findall(r"var\(\s*(--[\w-]+)", head + body))
        head = re.sub(
            r"(?m)^\s*(--[\w-]+)\s*:[^;{}]*;",
            lambda m, wanted=wanted: m[0] if m[1] in wanted else "",
            head,
        )
    return re.sub(r"\s*\n\s*", "\n", head)


def smaller(page: str) -> str:
    """The page with its embedded PNGs as WebP where that is smaller; swatches and icons stay."""

    def again(match: re.Match) -> str:
        if len(match[1]) < SMALL:
            return match[0]
        with Image.open(io.BytesIO(base64.b64decode(match[1]))) as image:
            found = base64.b64encode(webp(image, WIDTH, QUALITY)).decode()
        return f"data:image/webp;base64,{found}" if len(found) < len(match[1]) else match[0]

    return re.sub(r"data:image/png;base64,([A-Za-z0-9+/=\n]+)", again, page)


def plain_code(head: str, body: str) -> str:
    """The body of a page, whose code is marked up where a style sheet has a rule for it alone."""
    styled = set(re.findall(r"\.highlight \.(\w+)", head))
    mark = re.compile(r'<span class="(\w+)">([^<]*)</span>')
    return mark.sub(lambda m: m[0] if m[1] in styled else m[2], body)


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
    from jinja2 import pass_context
    from nbconvert import HTMLExporter  # a second of imports that `enter()` must not pay
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
    from nbconvert.preprocessors import coalescestreams

    class Words(IPythonRenderer):
        """Markdown as words: ids and names of the data stand in it, so HTML is shown as it is
        written, pictures are their text, and a link runs nothing."""

        def image(self, text: str, url: str, title: str | None = None) -> str:
            return html.escape(text)

        def block_mermaidjs(self, code: str) -> str:
            return f"<pre>{html.escape(code)}</pre>"

    class Page(HTMLExporter):
        template_name = "lab"
        raw_template = read_file("notebook.html")

        @pass_context
        def markdown2html(self, context, source):
            words = Words(
                escape=True, allow_harmful_protocols=False, anchor_link_text=self.anchor_link_text
            )
            return MarkdownWithMath(renderer=words).render(source)

    exporter = Page(embed_images=True, exclude_input_prompt=True, exclude_output_prompt=True)
    name = title(nb) or "Notebook"
    nb = nbformat.from_dict(json.loads(json.dumps(nb)))  # what follows writes into its input
    nb.metadata.pop("widgets", None)
    nb, _ = coalescestreams.CoalesceStreamsPreprocessor().preprocess(nb, {})
    for number, cell in enumerate(nb.cells):
        cell["id"] = f"cell-{number}"  # papermill draws one for the parameters it puts in
        for output in cell.get("outputs", []):
            if "text" in output:
                output["text"] = without_bars(output["text"])
        if "outputs" in cell:  # a bar leaves blanks
            cell.outputs = [o for o in cell.outputs if o.get("text", "something").strip()]
    dark = exporter.environment.loader.get_source(exporter.environment, "static/theme-dark.css")[0]
    frame = {"dark": dark, "style": read_file("notebook.css"), "back": back}
    about = {"metadata": {"name": name}, "frame": frame}
    page, _ = exporter.from_notebook_node(nb, resources=about)
    page = FRAMED.sub(r'src="\1"', smaller(described(page)))
    head, end, body = counted(page).partition("</head>")
    head = used_css(head, body)
    return head + end + plain_code(head, body)


def read_file(name: str) -> str:
    """A file beside the templates: the page's own template and style sheet."""
    return (resources.files("research.pipeline") / "templates" / name).read_text("utf-8")


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

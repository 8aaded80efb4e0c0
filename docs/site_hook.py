"""What the site's pages take from the rest of the repository.

A page with `source: README.md` at its head shows that file of the repository's root; links below
docs/ and to the root's other pages are turned to the site's. A line `names of gairlib.data` becomes
a table of that package's public names, a line `modules of gairlib.data` the documentation of each
of its modules, a line `notebooks of tutorials` a list of that folder's notebooks: as they are, with
their outputs where `make tutorials` has rendered them, and, where the site's `repo_url` is one of
GitHub, as a button that opens them in Colab. Sources are read as text, nothing is imported. In
docstrings `<name>` is text: as HTML it would be a tag; so is `a[b][c]`, which would be a link.
"""

import ast
import json
import re
from pathlib import Path

import griffe

PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "MODEL_CARD.md": "model-card.md",
}


def on_page_markdown(markdown, page, config, files):
    root = Path(config.config_file_path).parent
    if page.file.src_uri.startswith("log/"):
        page.meta["hide"] = ["navigation", "toc"]  # tables are wide
    if "source" in page.meta:
        markdown = (root / page.meta["source"]).read_text(encoding="utf-8")
        for name, target in PAGES.items():
            markdown = markdown.replace(f"]({name}", f"]({target}")
        markdown = re.sub(r"\]\(docs/", "](", markdown)
    kinds = {"names": names, "modules": modules, "notebooks": notebooks}
    line = re.compile(r"^(names|modules|notebooks) of (\S+)$", flags=re.M)
    where = root, config.repo_url or ""
    return line.sub(lambda found: kinds[found[1]](*where, found[2]), markdown)


def names(root: Path, _url: str, package: str) -> str:
    """Public names as `__init__.pyi` imports them, each with its docstring's first line."""
    stub = ast.parse(root.joinpath(*package.split("."), "__init__.pyi").read_text())
    rows = ["| name | what it is |", "|---|---|"]
    for statement in (s for s in stub.body if isinstance(s, ast.ImportFrom)):
        source = ast.parse(
            root.joinpath(*statement.module.split(".")).with_suffix(".py").read_text()
        )
        definitions = {one.name: one for one in source.body if hasattr(one, "name")}
        for one in statement.names:
            text = plain(ast.get_docstring(definitions[one.name]) or "").split("\n\n")[0]
            link = f"[`{package}.{one.asname or one.name}`][{statement.module}.{one.name}]"
            rows.append(f"| {link} | {' '.join(text.split())} |".replace("[N, D]", r"\[N, D\]"))
    return "\n".join(rows)


def modules(root: Path, _url: str, package: str) -> str:
    files = sorted(p for p in root.joinpath(*package.split(".")).glob("[!_]*.py"))
    options = "    options: {heading_level: 3}"
    return "\n\n".join(f"::: {package}.{path.stem}\n{options}" for path in files)


def plain(docstring: str) -> str:
    """A docstring without HTML. Code, between backticks or indented, stays as it is."""
    pieces = re.split(r"(`[^`]*`|^ {4}.*$)", docstring, flags=re.M)
    pieces[::2] = [piece.replace("<", "&lt;").replace("][", r"]\[") for piece in pieces[::2]]
    return "".join(pieces)


class PlainDocstrings(griffe.Extension):
    """What mkdocstrings shows of every module, class and function."""

    def on_object(self, *, obj, loader, **kwargs):
        if obj.docstring:
            obj.docstring.value = plain(obj.docstring.value)


def notebooks(root: Path, url: str, folder: str) -> str:
    """A line for each notebook of a folder of docs/: its title, and where it is to be had."""
    lines = []
    for path in sorted((root / "docs" / folder).glob("*.ipynb")):
        first = json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"]
        title = "".join(first).splitlines()[0].removeprefix("# ")
        places = [f"[notebook]({path.name})"]
        if path.with_suffix(".html").is_file():
            places.insert(0, f"[with its pictures]({path.stem}.html)")
        if found := re.match(r"https://github\.com/([\w.-]+/[\w.-]+?)(\.git)?/?$", url):
            colab = f"https://colab.research.google.com/github/{found[1]}/blob/main/docs/{folder}"
            badge = "![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)"
            places.append(f"[{badge}]({colab}/{path.name})")
        lines.append(f"- **{title}**: {', '.join(places)}")
    return "\n".join(lines)

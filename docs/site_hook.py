"""Pages of the site that are files of the repository's root: a page with `source: README.md` at its
head shows that file. Links below docs/ and to the root's other pages are turned to the site's."""

import re
from pathlib import Path

PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "MODEL_CARD.md": "model-card.md",
}


def on_page_markdown(markdown, page, config, files):
    source = page.meta.get("source")
    if source is None:
        return markdown
    text = (Path(config.config_file_path).parent / source).read_text(encoding="utf-8")
    for name, target in PAGES.items():
        text = text.replace(f"]({name}", f"]({target}")
    return re.sub(r"\]\(docs/", "](", text)

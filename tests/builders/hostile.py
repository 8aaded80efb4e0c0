"""A dataset folder whose ids, labels, file and folder names try to be HTML, script or Markdown."""

import json
import shutil
from pathlib import Path

import pandas as pd
from PIL import Image

HIT = "window.hit=1"  # what every script would set
NAMES = [  # as they may stand in a table; those without a slash also as names of files
    f'<img src=x onerror="{HIT}">',
    f"</script><script>{HIT}</script>",
    f"--><svg onload={HIT}>",
    "]]><b class=hit>bold",
    f"'\"><iframe srcdoc='<script>parent.{HIT}</script>'>",
    "</title></style></textarea><h1 class=hit>title",
    "{{ 7*7 }}{% raw %}${7*7}#{7*7}",
    f"[click](javascript:{HIT}) **bold** _em_ `code` ~~~",
    "# heading\n- item\r\n\t<b class=hit>",
    "\u202egnp.exe\u200b\u2066x\u2028y\u0085z",
    "-rf %s %00 #anchor ?query=1;&amp;&lt;&#60;",
    "$x^2$ \\(y\\) $$\\frac{1}{0}$$ \\x3cb\\x3e \\u003cb\\u003e",
    "fetch('https://outside.example/a')",
    "import `//outside.example/b`; from '//outside.example/c'",
    "=1+1",
    "n" * 300,
    "data:image/png;base64," + "A" * 60,
    "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
    "map_0123456789abcdef0123456789abcdef",
]


def as_file(name: str) -> str:
    """A name that a file system takes."""
    return name.replace("/", "\u2215").replace("\0", "")[:200]


def write_hostile(tiny: Path, parent: Path) -> Path:
    """The tiny dataset under such names; `tiny` is read only."""
    folder = parent / as_file(NAMES[1])
    shutil.copytree(tiny, folder)
    street = pd.read_csv(folder / "street.csv", dtype={"photo_id": str})
    names = [f"{NAMES[i % len(NAMES)]}{i // len(NAMES) or ''}" for i in range(len(street))]
    for i, (old, name) in enumerate(zip(street["path"], names)):
        path = f"street/{as_file(name)}.jpg"
        if i % 2 and (folder / old).exists() and street["path"].eq(old).sum() == 1:
            (folder / old).rename(folder / path)
            street.loc[i, "path"] = path
    street["photo_id"] = names
    street["weather"] = [NAMES[i % 3] for i in range(len(street))]
    street["captured_at"] = [f"<b class=hit>{i}" for i in range(len(street))]
    street["licence"] = [NAMES[(i + 5) % len(NAMES)] for i in range(len(street))]
    street[NAMES[0]] = [i / 40 for i in range(len(street))]
    street.to_csv(folder / "street.csv", index=False)
    rows = []
    for i, path in enumerate(sorted((folder / "scenes").glob("*.tif"))):
        named = path.with_name(as_file(NAMES[i]) + ".tif")
        path.rename(named)
        rows.append({"scene_id": NAMES[i], "path": f"scenes/{named.name}"})
    (folder / "scenes" / (as_file(NAMES[7]) + ".tif")).write_bytes(b"no raster")
    pd.DataFrame(rows).to_csv(folder / "scenes.csv", index=False)
    table = pd.read_csv(folder / "tables/warmth.csv")
    table[NAMES[1]], table["l" * 260] = table["warmth"], table["warmth"]
    table["kind"] = [NAMES[i % 3] for i in range(len(table))]
    table.to_csv(folder / "tables/warmth.csv", index=False)
    table.to_csv(folder / f"tables/{as_file(NAMES[0])}.csv", index=False)
    (folder / f"tables/{as_file(NAMES[10])}.csv").write_text(f"{NAMES[0]}\n1,2,3\n")
    for name, colour in zip((NAMES[0], NAMES[8], NAMES[10]), ("green", "blue", "grey")):
        (folder / "eurosat_rgb" / as_file(name)).mkdir(parents=True)
        for k in range(12):
            path = folder / "eurosat_rgb" / as_file(name) / f"{as_file(NAMES[k])}.jpg"
            Image.new("RGB", (64, 64), colour).save(path)
    (folder / as_file(NAMES[4])).mkdir()
    about = {"name": NAMES[5], "description": NAMES[1] + NAMES[7], "synthetic": False}
    (folder / "dataset.json").write_text(json.dumps(about))
    return folder

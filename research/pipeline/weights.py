"""What a run on other data depends on of the weights that it starts from.

`pretrain.init` and `pretrain.fallback` may say `sample`: the weights of the sample's own run, which
is then run first. Files and folders that they name are dependencies of the stage `pretrain`.

Open weights may be out of reach (no network) in one run and at hand in the next. The stage's
provenance.json lists what it lacked; `at_hand.txt` lists what of that can be had by now, and the
stage depends on it, so that the same command goes on with them.
"""

import os
from pathlib import Path

from gairlib import assets
from gairlib.errors import Missing
from gairlib.train.fallback import ASSETS, PUBLISHED
from gairlib.weights import whole
from research.pipeline.records import read

SAMPLE = "sample"
CHECKPOINT = "outputs/pretrain/model"
KEYS = ("init", "fallback")
AT_HAND = "at_hand.txt"


def name_the_samples(params: dict) -> None:
    """`sample` as the folder of the sample's weights, seen from the run; in place."""
    for key in KEYS:
        if params["pretrain"].get(key) == SAMPLE:
            params["pretrain"][key] = whole.SAMPLE + os.path.join(params["root"], CHECKPOINT)


def asks_for_the_samples(params: dict) -> bool:
    """Whether a run starts from the sample's weights, or falls back on them."""
    return any(str(params["pretrain"].get(key)).startswith(whole.SAMPLE) for key in KEYS)


def dependencies(params: dict, run: Path) -> list[str]:
    """Paths that the stage `pretrain` depends on beside its code."""
    found = [AT_HAND]
    (run / AT_HAND).write_text("".join(f"{line}\n" for line in _at_hand(run)))
    for key in KEYS:
        named = str(params["pretrain"].get(key) or "").removeprefix(whole.SAMPLE)
        if named and named not in (PUBLISHED, ASSETS) and not named.startswith("hub:"):
            found.append(named.replace("${", "\\${"))
    return found


def _at_hand(run: Path) -> list[str]:
    """Sources that an earlier run lacked and that can be had now."""
    before = (run / AT_HAND).read_text().splitlines() if (run / AT_HAND).is_file() else []
    records = read(run / "outputs/pretrain/provenance.json").get("towers", {}).values()
    lacked = [r["source"] for r in records if r.get("start") == "scratch" and r.get("source")]
    found = set(before)
    for source in dict.fromkeys(lacked):
        try:
            if source.startswith(assets.PREFIX):
                assets.find(source.removeprefix(assets.PREFIX), fetch=True)
            else:
                whole.find(source)
        except Missing as error:
            print(f"still not at hand: {error}", flush=True)
        else:
            found.add(source)
    return sorted(found)

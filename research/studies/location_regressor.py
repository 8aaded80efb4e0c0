"""`gairlib.regress.LocationRegressor` on a folder's own tables, against what it has to beat.

    python -m research.studies.location_regressor FOLDER [--rows 5000] [--weights FILE]
        [--out metrics/location_regressor.json] [--page docs/regress.md]

Every column of numbers of `tables/*.csv`, at most `--rows` rows of it (drawn with seed 0), is
predicted over five random folds and over five folds of blocks: of 10 degrees, or of the first of
`research.tasks.location.BLOCK_DEGREES` that gives 30 blocks. Rivals: a ridge on GeoCLIP's features
(what the other tables call GeoCLIP), distance-weighted 5-NN and inverse distance. Differences of R2
are paired, with 95% intervals over blocks (`research.evaluation.stats`). `--weights` is GeoCLIP's
file; without it the asset is taken, which `python -m gairlib.assets geoclip` fetches.
`python -m research.figures.predicted` draws one column's prediction.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from gairlib import assets
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from gairlib.geo import blocks
from gairlib.regress import LocationRegressor
from gairlib.weights.location import load_geoclip
from research.evaluation import neighbours, probes, stats
from research.pipeline import command
from research.studies.block_sizes import vectors, write_page
from research.tasks import registry
from research.tasks.data import Scheme, random_folds
from research.tasks.location import BLOCK_DEGREES, Location, block_sizes, blocked

NAME, RIDGE = "LocationRegressor", "GeoCLIP, ridge"
LEVEL = 0.9  # of the intervals whose coverage is reported
COLUMNS = (
    "task split encoder r2 low high difference difference_low difference_high coverage seconds "
    "n clusters"
).split()


def questions(dataset: Dataset) -> list[Location]:
    """The columns of numbers in the folder's tables."""
    found = [task for task in registry.default_for(dataset) if isinstance(task, Location)]
    return [task for task in found if task.load(dataset).kind == "regression"]


def drawn(task: Location, dataset: Dataset, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Places [n, 2] and numbers [n] of at most that many rows, drawn with seed 0."""
    data = task.load(dataset)
    pick = np.sort(np.random.default_rng(0).permutation(len(data.labels))[:rows])
    return data.inputs[pick], data.labels[pick].astype(float)


def judged(
    lonlat: np.ndarray, y: np.ndarray, encoder: nn.Module, scheme: Scheme
) -> tuple[dict[str, np.ndarray], float, float]:
    """Guesses [n] of the regressor and its rivals, each row from the folds that lack it; the share
    of rows inside the regressor's interval, and seconds of processor time of one fit."""
    x = vectors(encoder, lonlat)
    found = {name: np.empty(len(y)) for name in (NAME, RIDGE, *neighbours.NEIGHBOURS)}
    inside, seconds = np.empty(len(y), bool), []
    for train, test in scheme.folds(0):
        start = time.process_time()
        model = LocationRegressor(encoder).fit(lonlat[train], y[train])
        seconds.append(time.process_time() - start)
        found[NAME][test] = model.predict(lonlat[test])
        low, high = model.predict_interval(lonlat[test], LEVEL).T
        inside[test] = (low <= y[test]) & (y[test] <= high)
        found[RIDGE][test] = probes.ridge(x[train], y[train], x[test], scheme.groups[train])[0]
        for name, (_, k, power) in neighbours.NEIGHBOURS.items():
            found[name][test] = neighbours.by_distance(
                lonlat[train], y[train], lonlat[test], k=k, power=power
            )
    return found, float(inside.mean()), float(np.mean(seconds))


def measure(
    dataset: Dataset, encoder: nn.Module, rows: int, bootstrap: int = 1000
) -> Iterator[pd.DataFrame]:
    """One table (COLUMNS) a column: a row for each split and encoder; `difference` is the
    regressor's R2 minus the encoder's."""
    tasks = questions(dataset)
    if not tasks:
        raise BadInput(f"{dataset.folder}: no table in tables/ has a column of numbers to predict")
    for task in tasks:
        lonlat, y = drawn(task, dataset, rows)
        least = block_sizes(lonlat, BLOCK_DEGREES[:1])[0]
        codes, clusters = stats.encode_clusters(blocks(lonlat, least))
        lines = []
        for scheme in (random_folds(np.arange(len(y))), blocked(lonlat, least, least)):
            found, coverage, seconds = judged(lonlat, y, encoder, scheme)
            scores = {name: stats.r2(y, guess, codes) for name, guess in found.items()}
            for name, score in scores.items():
                own = stats.cluster_bootstrap([score], clusters, draws=bootstrap)
                gap = stats.paired_difference([scores[NAME]], [score], clusters, draws=bootstrap)
                about = (coverage, seconds) if name == NAME else (np.nan, np.nan)
                of = (own.value, own.low, own.high, gap.value, gap.low, gap.high)
                about = (*of, *about, len(y), clusters)
                lines.append((f"{task.table}-{task.column}", scheme.name, name, *about))
        yield pd.DataFrame(lines, columns=COLUMNS)


def markdown(rows: pd.DataFrame) -> str:
    """A table for each split: R2 of the regressor, its lead over each rival, coverage."""
    said = []
    for random in (True, False):
        at = rows[rows["split"].str.startswith("random") == random]
        rivals = [name for name in at["encoder"].unique() if name != NAME]
        head = ["column", "rows", NAME, *(f"ahead of {name}" for name in rivals)]
        head.append(f"inside the {LEVEL:.0%} interval")
        said += [
            "Random rows:" if random else "Blocks (10°, or what the table's extent allows):",
            "",
            "| " + " | ".join(head) + " |",
            "|" + "---|" * len(head),
        ]
        for task, group in at.groupby("task", sort=False):
            by = group.set_index("encoder")
            own = by.loc[NAME]
            cells = [task, f"{own.n:,}", f"{own.r2:.3f} [{own.low:.3f}, {own.high:.3f}]"]
            for name in rivals:
                gap = by.loc[name]
                ends = (gap.difference_low, gap.difference_high)
                text = "{:+.3f} [{:+.3f}, {:+.3f}]".format(gap.difference, *ends)
                cells.append(f"**{text}**" if min(ends) > 0 or max(ends) < 0 else text)
            said.append("| " + " | ".join([*cells, f"{own.coverage:.1%}"]) + " |")
        said.append("")
    return "\n".join(said).rstrip()


@command.one_sentence
def main(argv: list[str] | None = None) -> int:
    """The command of the module's header; returns the exit code."""
    parser = command.parser("research.studies.location_regressor", __doc__)
    parser.add_argument("folder", help="dataset folder with tables/")
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--weights", help="GeoCLIP's location_encoder_weights.pth")
    parser.add_argument("--bootstrap", type=int, default=1000)
    parser.add_argument("--out", help="JSON file for the rows")
    parser.add_argument("--page", help="Markdown page whose measured part is written anew")
    given = parser.parse_args(argv)
    encoder = load_geoclip(given.weights or assets.find("geoclip").path)
    parts = []
    for part in measure(Dataset(given.folder), encoder, given.rows, given.bootstrap):
        parts.append(part)
        print(markdown(part), flush=True)
        records = json.loads(pd.concat(parts).round(5).to_json(orient="records"))
        if given.out:
            Path(given.out).parent.mkdir(parents=True, exist_ok=True)
            Path(given.out).write_text(
                "[" + ",\n ".join(json.dumps(r) for r in records) + "]\n", encoding="utf-8"
            )
    if given.page:
        write_page(given.page, markdown(pd.concat(parts)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

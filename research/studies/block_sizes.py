"""CoordBench's protocol on a folder's own tables: R2 over random rows, blocks of 2 to 40 degrees.

    python -m research.studies.block_sizes FOLDER [--checkpoint DIR] [--weights geoclip=FILE ...]
        [--out metrics/block_sizes.json] [--page docs/location.md]

CoordBench (arXiv 2609.25454) asks what is left of an encoder's score when the nearest training row
moves away: one ridge probe on frozen features, and R2 with random rows held out, then with whole
cells of 2, 10, 20 and 40 degrees. A table takes part where it has a cell of the largest size for
each fold. The penalty is chosen inside the training rows (`research.evaluation.probes`).

Beside the encoders stand the rivals that know no feature: the nearest rows, inverse distance and
the bare coordinates; and, untrained, the two designs that others' encoders are made of.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from gairlib import geo
from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from gairlib.errors import BadInput
from gairlib.location.base import LocationEncoder
from gairlib.location.registry import create
from research.evaluation import features, neighbours, stats
from research.evaluation.splits import block_count
from research.evaluation.table import OURS, RANDOM, SHARED
from research.pipeline import command
from research.tasks import registry, trained
from research.tasks.data import FOLDS, Scheme, TaskData, random_folds
from research.tasks.encoders import Encoder, linear, near
from research.tasks.location import BLOCK_DEGREES, Location, blocked
from research.tasks.others import published
from research.tasks.probing import guesses
from research.tasks.task import Options

SIZES = (2.0, 10.0, 20.0, 40.0)  # degrees
RANDOM_ROWS = "random"
COLUMNS = "task encoder split value low high n clusters cluster synthetic".split()
# name -> (of the registry, dimensions, options): what others' encoders are made of
DESIGNS = {
    "GeoCLIP's and GAIR's design, untrained": ("rff", 512, {}),
    "SatCLIP's design, untrained": (
        "spherical-harmonics",
        256,
        {"degree": 39, "hidden": 512},  # its L = 40
    ),
}
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def questions(dataset: Dataset, sizes: Sequence[float] = SIZES) -> list[Location]:
    """The numbers in the folder's tables whose places fill at least FOLDS cells of each size."""
    found = []
    for task in registry.default_for(dataset):
        if isinstance(task, Location):
            data = task.load(dataset)
            cells = min((block_count(data.inputs, d) for d in sizes), default=FOLDS)
            if data.kind == "regression" and cells >= FOLDS:
                found.append(task)
    return found


def splits(lonlat: np.ndarray, sizes: Sequence[float]) -> dict[str, Scheme]:
    """Name -> folds over random rows, then over whole cells of each size ("2", "10", ...)."""
    found = {RANDOM_ROWS: random_folds(np.arange(len(lonlat)))}
    return found | {f"{d:g}": blocked(lonlat, d, BLOCK_DEGREES[0]) for d in sizes}


@torch.inference_mode()
def vectors(encoder: LocationEncoder, lonlat: np.ndarray) -> np.ndarray:
    """Float32 [n, D] of places [n, 2]."""
    return torch.cat([encoder(x).float() for x in geo.as_float64(lonlat).split(4096)]).numpy()


def compared(
    data: TaskData, dataset: Dataset, options: Options, designs: Sequence[str] = ()
) -> list[Encoder]:
    """Ours in both spaces, untrained, others' weights, untrained designs, guesses from positions;
    designs: names of the registry that are trained end to end on each fold's training rows."""
    model, lonlat = options.model, data.inputs
    untrained = encode.random_init(model.config, seed=0)
    frozen = {
        OURS: features.of_task(data, model, None, options.device),
        SHARED: features.shared_places(model, lonlat, options.device),
        RANDOM: features.of_task(data, untrained, None, options.device),
    }
    frozen |= {name: x for name, _, x in published(data, dataset, options)}
    for name, (kind, dim, how) in DESIGNS.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            frozen[name] = vectors(create(kind, dim, **how).eval(), lonlat)
    frozen["coordinates"] = neighbours.sphere(lonlat)
    found = [linear(name, data, x) for name, x in frozen.items()]
    found += [near(data, lonlat, name) for name in neighbours.NEIGHBOURS]
    fitted = trained.predictors(lonlat, data.labels, designs, options.settings)
    return found + [Encoder(f"{n}, {trained.PROBE}", trained.PROBE, p) for n, p in fitted.items()]


def measure(
    dataset: Dataset, options: Options, sizes: Sequence[float] = SIZES, designs: Sequence[str] = ()
) -> pd.DataFrame:
    """One row a task, encoder and split (COLUMNS), pooled over folds, with a 95% interval over
    cells of 10 degrees or of the split's size, whichever is larger."""
    rows = []
    for task in questions(dataset, sizes):
        data = task.load(dataset)
        encoders = compared(data, dataset, options, designs)
        for name, scheme in splits(data.inputs, sizes).items():
            groups = data.clusters if scheme.clusters is None else scheme.clusters
            for encoder in encoders:
                at, guess, _ = guesses(data, encoder, scheme, seed=0)
                codes, clusters = stats.encode_clusters(groups[at])
                score = stats.r2(data.labels[at], guess, codes)
                got = stats.cluster_bootstrap([score], clusters, draws=options.bootstrap)
                about = (len(at), clusters, scheme.cluster or data.cluster, data.synthetic)
                rows.append(
                    (
                        f"{task.table}-{task.column}",
                        encoder.name,
                        name,
                        got.value,
                        got.low,
                        got.high,
                        *about,
                    )
                )
    return pd.DataFrame(rows, columns=COLUMNS)


def means(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean R2 over the tasks: one row an encoder, one column a split, in the order of `rows`."""
    table = rows.pivot_table(index="encoder", columns="split", values="value", aggfunc="mean")
    return table.loc[rows["encoder"].unique(), rows["split"].unique()]


def markdown(rows: pd.DataFrame) -> str:
    """The tables of docs/location.md: means over the tasks, and each task at 10 degrees."""
    if rows.empty:
        return "No table of the folder has numbers in enough cells."
    rows = rows.round(5)  # as `save` keeps them

    def lines(first: str, table: pd.DataFrame, cell) -> list[str]:
        head = [first, *table.columns]
        found = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        return found + [
            f"| {name} | " + " | ".join(cell(v) for v in table.loc[name]) + " |"
            for name in table.index
        ]

    mean = means(rows).rename(columns=_heading)
    tasks = rows["task"].nunique()
    middle = f"{BLOCK_DEGREES[0]:g}"
    middle = middle if middle in set(rows["split"]) else rows["split"].iloc[-1]
    at = rows[rows["split"] == middle].assign(
        text=lambda r: [f"{v:.3f} [{a:.3f}, {b:.3f}]" for v, a, b in zip(r.value, r.low, r.high)]
    )
    each = at.pivot(index="task", columns="encoder", values="text")
    each = each.loc[rows["task"].unique(), [n for n in rows["encoder"].unique()]]
    synthetic = "synthetic" if rows["synthetic"].any() else "real"
    return "\n".join(
        [
            f"Mean R2 over {tasks} columns ({synthetic} tables):",
            "",
            *lines("encoder", mean, "{:.3f}".format),
            "",
            f"Each column, {_heading(middle)}, with 95% intervals over blocks:",
            "",
            *lines("encoder", each.T, str),
        ]
    )


def _heading(split: str) -> str:
    return "random rows" if split == RANDOM_ROWS else f"{split}° blocks"


def write_page(path: str | Path, text: str) -> None:
    """Puts text between the page's two marks; BadInput for a page that lacks them."""
    path = Path(path)
    page = path.read_text(encoding="utf-8")
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise BadInput(f"{path}: {BEGIN} and {END} are needed, once each and in this order")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def save(rows: pd.DataFrame, path: str | Path) -> None:
    """JSON, one record a row, numbers to five digits."""
    records = json.loads(rows.round(5).to_json(orient="records"))
    lines = ",\n ".join(json.dumps(record) for record in records)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(f"[{lines}]\n" if records else "[]\n", encoding="utf-8")


def load(path: str | Path) -> pd.DataFrame:
    """What `save` wrote; a number that does not exist is NaN."""
    rows = pd.DataFrame(json.loads(Path(path).read_text(encoding="utf-8")), columns=COLUMNS)
    return rows.astype({name: float for name in ("value", "low", "high")})


@command.one_sentence
def main(argv: list[str] | None = None) -> int:
    """The command of the module's header; returns the exit code."""
    parser = command.parser("research.studies.block_sizes", __doc__)
    parser.add_argument("folder", help="dataset folder with tables/")
    parser.add_argument("--checkpoint", default="outputs/pretrain/model")
    parser.add_argument("--weights", nargs="*", default=[], metavar="PROJECT=FILE")
    parser.add_argument("--train", nargs="*", default=[], help="encoders to train end to end too")
    parser.add_argument("--bootstrap", type=int, default=1000)
    parser.add_argument("--out", help="JSON file for the rows")
    parser.add_argument("--page", help="Markdown page whose measured part is written anew")
    parser.add_argument("--rows", help="take the rows from this file of --out, measure nothing")
    given = parser.parse_args(argv)
    weights = dict(pair.partition("=")[::2] for pair in given.weights)
    options = Options(given.checkpoint, bootstrap=given.bootstrap, weights=weights)
    if given.rows:
        rows = load(given.rows)
    else:
        rows = measure(Dataset(given.folder), options, designs=trained.names(given.train))
    if given.out:
        save(rows, given.out)
    if given.page:
        write_page(given.page, markdown(rows))
    print(markdown(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Are the probabilities of `gairlib.find` to be believed? Photos of held-out sites, each asked of
its own scene.

    python -m research.studies.find_calibration FOLDER --pairs outputs/pair
        [--checkpoint DIR] [--chip-px 64 --chip-m 640]
        [--out metrics/find_calibration.json] [--page docs/find.md]

Two judges, with 95% intervals over sites. The *mass* is the probability that a map gives to all
within `RADIUS` of where the photo was taken; guessing gives the share of the scene that lies there.
*Reliability*: of the places that `find` would name (`gairlib.embed.likely`) with about so much
probability, how many hold the photo? Both at the temperature that pretraining fitted, which is
`find`'s default, and at one that is fitted to the maps of validation sites alone. The figure is
drawn by `research.figures.reliability`.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
from rasterio.io import MemoryFile

from gairlib import geo
from gairlib.data.dataset import Dataset
from gairlib.embed import encode, likely
from gairlib.embed.field import dense_field
from gairlib.embed.finding import RADIUS
from gairlib.errors import BadInput
from gairlib.files import atomic_write
from gairlib.model import GAIR, model_hash
from gairlib.pairs import store
from research.evaluation import localisation, stats
from research.pipeline import command
from research.studies.block_sizes import write_page
from research.tasks.query import one_a_photo
from research.tasks.result import TEST

CELL_M, PLACES = 10.0, 10  # of the maps; asked of each
EDGES = (0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 1)  # of the stated probabilities
PRETRAINED, FITTED = "pretraining's", "fitted on validation sites"


class Map:
    """A photo's cosines with its scene's cells [h, w], NaN without data, and where it was taken."""

    def __init__(self, cosine: np.ndarray, field, off_m: np.ndarray, row) -> None:
        self.cosine, self.field, self.off_m, self.row = cosine, field, off_m, row
        self.near = off_m <= RADIUS
        self._cells = np.nan_to_num(cosine, nan=-np.inf).reshape(1, -1)

    def shares(self, temperature: float) -> np.ndarray:
        """The probability of each cell [h, w], 0 without data."""
        return localisation.shares(self._cells, temperature).reshape(self.cosine.shape)

    def surprise(self, temperature: float) -> float:
        """-log p of the cell where the photo was taken."""
        return float(localisation.surprise(self._cells, self.off_m.argmin(), temperature)[0])

    def mass(self, temperature: float) -> float:
        return self.shares(temperature)[self.near].sum()

    def places(self, temperature: float) -> tuple[np.ndarray, np.ndarray]:
        """Of what `find` names: the stated probability [k], and whether the photo is there [k]."""
        how = dict(driver="GTiff", count=1, dtype="float32", nodata=np.nan)
        h, w = self.cosine.shape
        how |= dict(height=h, width=w, crs=self.field.scene.crs, transform=self.field.transform)
        with MemoryFile() as memory:
            with rasterio.open(memory.name, "w", **how) as file:
                file.write(self.cosine.astype(np.float32), 1)
            asked = dict(radius=RADIUS, cell=CELL_M, count=PLACES)
            found = likely.places(memory.name, temperature=temperature, **asked)
        at = found[["lon", "lat"]].to_numpy()
        here = np.array([self.row.lon, self.row.lat])
        return found["probability"].to_numpy(), geo.haversine(at, here) <= RADIUS


def maps(model: GAIR, dataset: Dataset, rows: pd.DataFrame, **chip) -> Iterator[Map]:
    """The map of each photo in rows of a manifest, scene by scene; chip: its chip_px and chip_m."""
    if model.config.reads_headings:
        raise BadInput("this study asks one field a scene: a model that reads headings has many")
    for scene_id, group in rows.groupby("scene_id", sort=True):
        field = dense_field(model, dataset.scene(scene_id), resolution=CELL_M, **chip)
        centres = np.stack(field.centres(), -1)
        images = encode.read_photos(dataset, group, model.config.sv_size)
        cosines = field.similarity(encode.encode_photos(model, images))
        for cosine, row in zip(cosines, group.itertuples()):
            off = geo.haversine(centres, np.array([row.lon, row.lat]))
            yield Map(cosine, field, np.where(field.valid, off, np.inf), row)


def fit_temperature(found: list[Map]) -> float:
    """The one of TEMPERATURES under which the true cells are most likely."""
    loss = [np.mean([one.surprise(t) for one in found]) for t in localisation.TEMPERATURES]
    return float(localisation.TEMPERATURES[int(np.argmin(loss))])


def _interval(values: np.ndarray, sites) -> list[float]:
    """Mean, and the ends of its interval over sites; NaN as None."""
    codes, count = stats.encode_clusters(sites)
    got = stats.cluster_bootstrap([stats.mean(values, codes)], count)
    ends = (got.value, got.low, got.high)
    return [round(float(v), 5) if np.isfinite(v) else None for v in ends]


def reliability(stated: np.ndarray, held: np.ndarray, sites: np.ndarray) -> list[dict]:
    """Of places by their stated probability [m], in the bins of EDGES: how many hold their photo
    (bool [m]); bins without a place are left out."""
    rows = []
    for low, high in zip(EDGES, EDGES[1:]):
        inside = (stated >= low) & ((stated < high) | (high == EDGES[-1]))
        if inside.any():
            about = {"from": low, "to": high, "places": int(inside.sum())}
            about["stated"] = round(float(stated[inside].mean()), 5)
            rows.append(about | {"found": _interval(held[inside], sites[inside])})
    return rows


def measure(model: GAIR, dataset: Dataset, pairs: str | Path, **chip) -> dict:
    """What main writes; see the module's header. chip: chip_px and chip_m of the training."""
    known = {"val": one_a_photo(store.load(pairs, store.LEARNING).manifest, "val")}
    known[TEST] = one_a_photo(store.load(pairs).manifest, TEST)
    if empty := [split for split, rows in known.items() if not len(rows)]:
        raise BadInput(f"{pairs}: no photos of split {' and '.join(empty)}")
    fitted = fit_temperature(list(maps(model, dataset, known["val"], **chip)))
    temperatures = {PRETRAINED: float(model.temperatures()["incl"].detach()), FITTED: fitted}
    masses = {name: [] for name in temperatures}
    named = {name: ([], [], []) for name in temperatures}
    chance, sites = [], []
    for one in maps(model, dataset, known[TEST], **chip):
        site = one.row.scene_id
        sites.append(site)
        chance.append(one.near.sum() / np.isfinite(one.off_m).sum())
        for name, t in temperatures.items():
            masses[name].append(one.mass(t))
            stated, held = one.places(t)
            for part, values in zip(named[name], (stated, held, [site] * len(held))):
                part.extend(values)
    results = {}
    for name, t in temperatures.items():
        stated, held, where = (np.array(part) for part in named[name])
        bins = reliability(stated, held, where)
        gap = sum(b["places"] * abs(b["stated"] - b["found"][0]) for b in bins) / len(stated)
        results[name] = {"temperature": round(t, 5), "mass": _interval(masses[name], sites)}
        results[name] |= {"calibration_error": round(gap, 5), "bins": bins}
    return {
        "data": "synthetic" if dataset.synthetic else "real",
        "weights": model_hash(model),
        "radius_m": RADIUS,
        "photos": len(sites),
        "sites": len(set(sites)),
        "validation_photos": len(known["val"]),
        "chance": _interval(chance, sites),
        "temperatures": results,
    }


def markdown(found: dict) -> str:
    """The measured part of docs/find.md."""

    def said(ends: list) -> str:
        value, low, high = ends
        return f"{value:.3f}" + ("" if low is None else f" ({low:.3f} to {high:.3f})")

    lines = [
        f"{found['photos']:,} test photos at {found['sites']} sites ({found['data']} data), each "
        "asked of its own scene; 95% intervals over sites.",
        "",
        f"| temperature | | probability within {found['radius_m']:g} m of the truth | gap between "
        "stated and found |",
        "|---|---|---|---|",
    ]
    for name, one in found["temperatures"].items():
        lines.append(
            f"| {name} | {one['temperature']:.3f} | {said(one['mass'])} | "
            f"{one['calibration_error']:.3f} |"
        )
    return "\n".join([*lines, f"| a guess | | {said(found['chance'])} | |"])


@command.one_sentence
def main(argv: list[str] | None = None) -> int:
    """The command of the module's header; returns the exit code."""
    parser = command.parser("research.studies.find_calibration", __doc__)
    parser.add_argument("folder", help="dataset folder that the pairs are of")
    parser.add_argument("--pairs", default="outputs/pair")
    parser.add_argument("--checkpoint", default="outputs/pretrain/model")
    parser.add_argument("--chip-px", type=int, help="where the model's config does not say it")
    parser.add_argument("--chip-m", type=float, help="... in metres")
    parser.add_argument("--out", help="JSON file")
    parser.add_argument("--page", help="Markdown page whose measured part is written anew")
    given = parser.parse_args(argv)
    model = GAIR.from_pretrained(given.checkpoint)
    chip = {"chip_px": given.chip_px, "chip_m": given.chip_m}
    found = measure(model, Dataset(given.folder), given.pairs, **chip)
    if given.out:
        with atomic_write(Path(given.out)) as part:
            part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if given.page:
        write_page(given.page, markdown(found))
    print(markdown(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

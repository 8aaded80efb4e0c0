"""Real street photos by frozen features: their city, people's scores of them, where they are.

    python -m research.studies.street_photos [--specs FOLDER] [--street FOLDER] [--model DIR]
        [--sizes 96 128 160 224] [--weights FILE] [--out FILE.json]

`--specs` holds `scores.csv` (path, city, safe, lively, beautiful, wealthy, ...; Quintana et al.,
Nature Cities 2025). A kernel ridge predicts scores and city (one-hot, the largest) of held-out
photos: five folds, stratified by city, four seeds, the penalty chosen by folds inside the training
rows. Given are the share of cities that are right and the correlation of all held-out predictions
of a seed with the scores, with 95% intervals over photos. The four attributes are one mean.

`--street` holds `street.csv` (path, lon, lat). A photo is laid where the most similar other photo
is (cosine of standardised features): once among all others, once among those further than 100 km
away. Given are the shares within 25, 200, 750 and 2,500 km, and what a random photo of the same
ones gives; intervals are over places, photos within blocks of one degree.

Encoders: ImageNet's EfficientNet-Lite0 (an asset) at each input size, the same network untrained,
the photo tower of a model folder, and colours. `pooled` is what a probe reads; `depths` is the mean
and the spread over the picture of every channel at the end of every stage (the statistics of Gatys
et al., CVPR 2016), every stage with the same weight: a street's look is as much texture as things.
`chosen` takes, for each target, the features of the least error inside the training rows.
"""

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import timm
import torch
from torch import Tensor, nn

from gairlib import assets, devices, preprocess
from gairlib.data import photos, table_files
from gairlib.geo import blocks, haversine
from gairlib.model import GAIR
from gairlib.weights.timm_models import load_timm
from research.evaluation import features, probes, splits, stats
from research.pipeline import command

ATTRIBUTES = ("safe", "lively", "beautiful", "wealthy")
PENALTIES = np.logspace(-3, 3, 13)  # on kernels whose diagonal is about the number of blocks
SEEDS, FOLDS, INNER = 4, 5, 8
RADII_KM = (25, 200, 750, 2500)
APART_KM = 100.0
COLOUR, CHOSEN = "colours", "chosen"
Blocks = list[np.ndarray]  # tables [n, D] of the same photos, of equal weight


# -------------------------------------------------------------------------------------- features


def pictures(folder: Path, frame: pd.DataFrame, size: int) -> Tensor:
    """uint8 [n, 3, size, size], squashed."""
    each = [photos.load(folder / path, size=size) for path in frame["path"]]
    return torch.from_numpy(np.stack(each)).movedim(-1, 1)


@devices.on_device
@torch.inference_mode()
def of_tower(
    tower: nn.Module, prepare: Callable, images: Tensor, device: str = "auto"
) -> dict[str, Blocks]:
    """A timm model's pooled features, and the means and spreads of its maps at every depth."""
    pooled, depths = [], []
    for part in images.split(16):
        x = prepare(part).to(device)
        pooled.append(tower(x).cpu())
        maps = tower.forward_intermediates(x, intermediates_only=True)
        both = ([m.mean((2, 3)), m.std((2, 3), correction=0)] for m in maps)
        depths.append([torch.cat(pair, 1).cpu() for pair in both])
    return {
        "pooled": [torch.cat(pooled).numpy()],
        "depths": [torch.cat(stage).numpy() for stage in zip(*depths)],
    }


def encoders(
    folder: Path, frame: pd.DataFrame, sizes: Sequence[int], weights: Path, model: str | None
) -> dict[str, Blocks]:
    """Every row's name -> its features of the frame's photos."""
    images = pictures(folder, frame, max(sizes)).numpy()
    found = {COLOUR: [features.colour_statistics(images), features.thumbnails(images, 4)]}
    trained = load_timm(weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        untrained = timm.create_model(trained.name, num_classes=0).eval()
    towers = [
        (f"{name}, {size} px", tower, (lambda x: (x - trained.mean) / trained.std), size)
        for name, tower in (("ImageNet", trained.model), ("untrained", untrained))
        for size in sizes
    ]
    if model:
        gair = GAIR.from_pretrained(model)
        size = gair.config.sv_size
        scale = partial(preprocess.get(gair.config.preprocessing).sv, size=size)
        towers.append((f"GAIR's tower, {size} px", gair.sv.tower, scale, size))
    for name, tower, prepare, size in towers:
        for kind, tables in of_tower(tower, prepare, pictures(folder, frame, size)).items():
            found[f"{name}, {kind}"] = tables
    return found


# ----------------------------------------------------------------------------- city and scores


def kernel(tables: Blocks, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Inner products [n + m, n] of training and test rows with the training rows, each block
    standardised on the training rows and divided by its width."""
    total = np.zeros((len(train) + len(test), len(train)))
    for table in tables:
        x, z = probes.standardise(table[train], table[test])
        total += np.concatenate([x, z]) @ x.T / x.shape[1]
    return total


def ridge_path(k: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Kernel ridge of every penalty: k [n + m, n], y [n, T] -> predictions [P, m, T]."""
    n, centre = len(y), y.mean(0)
    own, cross = k[:n], k[n:]
    cross = cross - cross.mean(1, keepdims=True) - own.mean(0) + own.mean()
    values, vectors = np.linalg.eigh(own - own.mean(0) - own.mean(1)[:, None] + own.mean())
    rotated, cross = vectors.T @ (y - centre), cross @ vectors
    shrunk = rotated / (np.maximum(values, 0)[:, None] + PENALTIES[:, None, None])  # [P, n, T]
    return centre + cross @ shrunk


def predict(
    k: np.ndarray, y: np.ndarray, parts: Sequence[slice], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions [m, T] with the penalty of the least error over inner folds, chosen for each part
    of the targets, and that error [len(parts)]."""
    n = len(y)
    fold, error = splits.fold_numbers(np.arange(n), INNER, seed), 0.0
    for f in range(INNER):
        out, kept = np.flatnonzero(fold == f), np.flatnonzero(fold != f)
        inner = k[np.concatenate([kept, out])][:, kept]
        error = error + ((ridge_path(inner, y[kept]) - y[out]) ** 2).sum(1)  # [P, T]
    path, answer, least = ridge_path(k, y), np.empty((len(k) - n, y.shape[1])), []
    for part in parts:
        each = error[:, part].sum(1)
        answer[:, part] = path[each.argmin(), :, part]
        least.append(each.min())
    return answer, np.array(least)


def held_out(found: dict[str, Blocks], y: np.ndarray, city: np.ndarray, parts: Sequence[slice]):
    """Encoder -> predictions [SEEDS, n, T], each row from the folds that lack it. `CHOSEN` is among
    the encoders that are not untrained."""
    names = [name for name in found if not name.startswith("untrained")]
    guesses = {name: np.empty((SEEDS, *y.shape)) for name in (*found, CHOSEN)}
    for seed in range(SEEDS):
        for train, test in splits.stratified(city, FOLDS, seed):
            errors = {}
            for name, tables in found.items():
                k = kernel(tables, train, test)
                guesses[name][seed, test], errors[name] = predict(k, y[train], parts, seed)
            for i, part in enumerate(parts):
                best = min(names, key=lambda name: errors[name][i])
                guesses[CHOSEN][seed, test, part] = guesses[best][seed, test, part]
    return guesses


def specs(found: dict[str, Blocks], frame: pd.DataFrame) -> list[dict]:
    """A row an encoder: city, each attribute, their mean, and the lead over colours."""
    city, codes = frame["city"].to_numpy(str), np.arange(len(frame))
    scores = frame[list(ATTRIBUTES)].to_numpy(float)
    cities = np.unique(city)
    number, count = len(ATTRIBUTES), len(cities)
    y = np.concatenate([scores, city[:, None] == cities], 1)
    parts = [*(slice(i, i + 1) for i in range(number)), slice(number, number + count)]
    made: dict[str, dict[str, list[stats.Score]]] = {}
    for name, guess in held_out(found, y, city, parts).items():
        seeds = [
            [stats.correlation(scores[:, i], g[:, i], codes) for i in range(number)] for g in guess
        ]
        hits = [cities[g[:, number:].argmax(1)] == city for g in guess]
        made[name] = {
            "city": [stats.mean(hit, codes) for hit in hits],
            "mean": [stats.average(seed) for seed in seeds],
            **{a: [seed[i] for seed in seeds] for i, a in enumerate(ATTRIBUTES)},
        }
    rows = []
    for name, measures in made.items():
        row: dict = {"encoder": name, "n": len(frame)}
        for measure, each in measures.items():
            row[measure] = _ends(stats.cluster_bootstrap(each, len(frame)))
            if measure in ("city", "mean"):
                gap = stats.paired_difference(each, made[COLOUR][measure], len(frame))
                row[f"{measure}_ahead_of_colours"] = _ends(gap)
        rows.append(row)
    return rows


# ---------------------------------------------------------------------------------- coordinates


def places(found: dict[str, Blocks], frame: pd.DataFrame) -> list[dict]:
    """A row an encoder and gallery: the shares of photos laid within RADII_KM of where they are."""
    lonlat = frame[["lon", "lat"]].to_numpy(float)
    far = haversine(lonlat[:, None], lonlat[None]) / 1000  # [n, n]
    codes, clusters = stats.encode_clusters(blocks(lonlat, 1.0))
    rows, everyone = [], np.arange(len(frame))
    for gallery, allowed in (
        ("all others", ~np.eye(len(frame), dtype=bool)),
        (f"further than {APART_KM:g} km", far > APART_KM),
    ):
        shares = {
            "a random one": {r: ((far < r) & allowed).sum(1) / allowed.sum(1) for r in RADII_KM}
        }
        for name, tables in found.items():
            x = np.concatenate([probes.standardise(t)[0] / t.shape[1] ** 0.5 for t in tables], 1)
            x /= np.linalg.norm(x, axis=1, keepdims=True)
            error = far[everyone, np.where(allowed, x @ x.T, -np.inf).argmax(1)]
            shares[name] = {r: (error < r).astype(float) for r in RADII_KM}
        for name, share in shares.items():
            row = {"encoder": name, "gallery": gallery, "n": len(frame), "places": clusters}
            for r, values in share.items():
                row[f"within_{r}_km"] = _ends(
                    stats.cluster_bootstrap([stats.mean(values, codes)], clusters)
                )
            rows.append(row)
    return rows


# ---------------------------------------------------------------------------------------- output


def _ends(found: stats.Estimate) -> list[float | None]:
    """[value, low, high], None without an interval."""
    return [round(v, 4) if np.isfinite(v) else None for v in (found.value, found.low, found.high)]


def markdown(rows: list[dict]) -> str:
    """One table of rows that have the same keys."""

    def cell(value) -> str:
        if not isinstance(value, list):
            return str(value)
        middle, low, high = value
        return f"{middle:.3f}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]")

    head = "| " + " | ".join(k.replace("_", " ") for k in rows[0]) + " |"
    return "\n".join(
        [head, "|" + "---|" * len(rows[0])]
        + ["| " + " | ".join(map(cell, row.values())) + " |" for row in rows]
    )


@command.one_sentence
def main(argv: list[str] | None = None) -> int:
    """The command of the module's header; returns the exit code."""
    parser = command.parser("research.studies.street_photos", __doc__)
    parser.add_argument("--specs", type=Path, help="folder with scores.csv")
    parser.add_argument("--street", type=Path, help="folder with street.csv")
    parser.add_argument("--model", help="folder of a GAIR model")
    parser.add_argument("--sizes", type=int, nargs="+", default=[96, 128, 160, 224])
    parser.add_argument("--weights", type=Path, help="tf_efficientnet_lite0.pth; else the asset")
    parser.add_argument("--out", type=Path, help="JSON file for the rows")
    given, made = parser.parse_args(argv), {}
    weights = given.weights or assets.find("efficientnet-lite0").path
    for name, folder, table, needed, measure in (
        ("specs", given.specs, "scores.csv", ("path", "city", *ATTRIBUTES), specs),
        ("places", given.street, "street.csv", ("path", "lon", "lat"), places),
    ):
        if folder is None:
            continue
        frame, reasons = table_files.read(folder / table, needed)
        frame = frame[reasons.isna()].reset_index(drop=True)
        made[name] = measure(encoders(folder, frame, given.sizes, weights, given.model), frame)
        print(markdown(made[name]), end="\n\n", flush=True)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

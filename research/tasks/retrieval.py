"""Cross-modal retrieval: a photo looks for the localised RS embedding of its own place, and back.

Three questions to the held-out pairs, from easy to hard:
- all photos: whose place is it, among every held-out photo of the world?
- within site: where in its own neighbourhood, where climate and season no longer help?
  Both also from RS to photo: which of the photos was taken at this position?
- within chip: slide the photo over the decoded field of its chip (cells of 20 m or finer), take
  the likeliest disc, and measure how far its centre is from where the photo was taken.

Against: chance, the same model untrained, the chip's mean (does *local* alignment matter?), the raw
tokens read bilinearly (a mode the model was not trained in, and labelled so), and canonical
correlation between colour statistics of photos and of local RS windows, fitted on training pairs.
For positions also the chip's centre, and guesses from where training photos stand in their chips.
Coordinates, the third modality, are the tasks of `research.tasks.places`.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from pyproj import Geod
from tqdm.auto import tqdm

from gairlib import geo, preprocess, ranks
from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from gairlib.errors import Skipped
from gairlib.model import GAIR
from gairlib.pairs import store
from gairlib.pairs.store import Pairs
from research.evaluation import features, localisation, probes, stats
from research.evaluation.table import OURS, RANDOM, Table
from research.tasks.search import margins

KS = (1, 5, 10)
CELL_M = 20.0  # or finer
MAX_CELLS = 64  # a side, for chips of many kilometres
MIN_HELD_OUT = 10  # with fewer test photos all pairs are looked at, and labelled so
MIN_TRAIN = 50  # training pairs that the colour baseline needs
GUESSES = 32  # random points a photo
BACK = ", RS to photo"  # splits of the opposite direction end so
MARGIN = "cosine margin"
EXPECTED, SHARPEST = "gair, least expected error", "gair, most similar cell"
MEAN, RAW = "gair, chip mean", "gair, raw tokens bilinear (not its training mode)"
COLOURS = "colour statistics"
GEOD = Geod(ellps="WGS84")


@dataclass
class Query:
    """The photos that ask, and their chips: rows [n] of the manifest (one a photo), `chip_of` [n]
    into chips [c, 10, H, W], xy [n, 2], widths of the chips in metres [n, 2], images uint8."""

    rows: pd.DataFrame
    label: str
    chips: np.ndarray
    chip_of: np.ndarray
    size_m: np.ndarray
    images: torch.Tensor

    @property
    def xy(self) -> np.ndarray:
        return self.rows[["x", "y"]].to_numpy(np.float64)

    @property
    def sites(self) -> np.ndarray:
        column = "site" if "site" in self.rows and self.rows["site"].notna().all() else "scene_id"
        return self.rows[column].astype(str).to_numpy(dtype=str)

    @property
    def cells(self) -> int:
        """Cells a side of the dense field, of CELL_M or finer (UTM's scale factor aside)."""
        return min(MAX_CELLS, max(1, math.ceil(float(self.size_m.max()) / CELL_M - 0.1)))


@dataclass
class Reading:
    """One encoder's answers: embeddings of photos and places [n, D], each photo's similarity with
    the P cells of its chip [n, P] and the cells [P, 2] in [-1, 1] (None without positions)."""

    photos: np.ndarray
    local: np.ndarray
    maps: np.ndarray | None = None
    grid: np.ndarray | None = None
    shown: np.ndarray | None = None  # positions [n, 2] for the figure of an example

    def guesses(self, temperature: float) -> dict[str, np.ndarray]:
        """Positions [n, 2] by estimator: `disc`, the likeliest disc (the one that is judged),
        `best`, the most similar cell, and `expected`, the least expected error."""
        if self.maps is None:
            return {}
        return {
            "disc": localisation.likeliest_disc(self.maps, self.grid, temperature),
            "best": localisation.best_cell(self.maps, self.grid),
            "expected": localisation.least_expected_error(self.maps, self.grid, temperature),
        }

    def fit_temperature(self, query: Query) -> float:
        """How far these similarities are to be trusted, by the true positions of the query."""
        return localisation.fit_temperature(self.maps, localisation.cell_of(query.xy, query.cells))


def held_out(manifest: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Test rows, one a photo, and what to call them; all rows where the test split is too small."""
    rows = manifest.sort_values(["photo_id", "chip"], kind="stable").drop_duplicates("photo_id")
    test = rows[rows["split"] == "test"]
    if len(test) >= MIN_HELD_OUT:
        return test.reset_index(drop=True), "held-out sites"
    return rows.reset_index(drop=True), "all pairs, none held out"


def chip_size_m(crs: str, transform, pixels: int) -> tuple[float, float]:
    """Ground width and height of a chip in metres, geodesics through its middle."""
    ends = np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0]])
    lon, lat = geo.chip_lonlat(ends, crs, transform, (pixels, pixels)).T
    return tuple(GEOD.inv(lon[[0, 2]], lat[[0, 2]], lon[[1, 3]], lat[[1, 3]])[2])


def gather(pairs: Pairs, dataset: Dataset, rows: pd.DataFrame, label: str, photo_px: int) -> Query:
    """Chips and photos of manifest rows, each read once."""
    names, chip_of = np.unique(rows["chip"].to_numpy(), return_inverse=True)
    chosen = pairs.chips.isel(chip=names)
    chips = chosen["chips"].to_numpy()
    sizes = np.array(
        [
            chip_size_m(str(crs), transform, chips.shape[-1])
            for crs, transform in zip(chosen["crs"].to_numpy(), chosen["transform"].to_numpy())
        ]
    )
    images = encode.read_photos(dataset, rows, photo_px)
    return Query(rows, label, chips, chip_of, sizes[chip_of], images)


@torch.inference_mode()
def read(
    model: GAIR, query: Query, *, mode: str | None = None, device: str = "cpu", batch: int = 8
) -> Reading:
    """Embeddings of photos and of the places where they stand, and maps of similarity.

    Chips are encoded once; their dense fields are held `batch` at a time.
    """
    model = model.to(device).eval()
    prep = preprocess.get(model.config.preprocessing)
    photos = encode.encode_photos(model, query.images, device=device)
    local = np.zeros_like(photos)
    grid = localisation.cell_centres(query.cells)  # [P, 2]
    slide = mode != "mean"  # a chip's mean has no position
    maps = np.zeros((len(photos), len(grid)), np.float32) if slide else None
    for start in tqdm(range(0, len(query.chips), batch), desc="fields", mininterval=1, leave=False):
        dn = torch.from_numpy(query.chips[start : start + batch].astype(np.float32))
        encoded = model.encode_rs(prep.rs(dn, model.config.rs_size).to(device))
        members = [np.flatnonzero(query.chip_of == start + i) for i in range(len(dn))]
        slots = max(map(len, members))
        xy = np.zeros((len(dn), slots, 2))  # an empty slot reads the middle and is dropped
        for i, rows in enumerate(members):
            xy[i, : len(rows)] = query.xy[rows]
        at = model.query_rs(encoded, torch.from_numpy(xy).to(device), mode=mode, normalize=True)
        for i, rows in enumerate(members):
            local[rows] = at[i, : len(rows)].float().cpu().numpy()
        if not slide:
            continue
        dense = torch.from_numpy(grid)[None].expand(len(dn), -1, -1).to(device)
        fields = model.query_rs(encoded, dense, mode=mode, normalize=True).float().cpu().numpy()
        for i, rows in enumerate(members):
            maps[rows] = photos[rows] @ fields[i].T  # [k, P]
    return Reading(photos, local, maps, grid if slide else None)


def photo_colours(query: Query) -> np.ndarray:
    """Colour statistics and a coarse thumbnail of every photo: [n, P]."""
    images = query.images.numpy()
    return np.concatenate([features.colour_statistics(images), features.thumbnails(images, 4)], 1)


def place_colours(query: Query) -> np.ndarray:
    """Band statistics of the RS windows around every photo's position: [n, Q]."""
    return features.local_statistics(query.chips, query.chip_of, query.xy)


def colour_reading(train: Query, query: Query) -> Reading:
    """Colour statistics of photos and local RS windows, aligned on the training pairs by CCA."""
    to_photo, to_place = probes.canonical_pairs(photo_colours(train), place_colours(train))
    photos, local = to_photo(photo_colours(query)), to_place(place_colours(query))
    grid = localisation.cell_centres(query.cells)
    maps = np.zeros((len(photos), len(grid)), np.float32)
    for chip in range(len(query.chips)):
        rows = np.flatnonzero(query.chip_of == chip)
        dense = features.local_statistics(query.chips[chip][None], np.zeros(len(grid), int), grid)
        maps[rows] = ranks.unit(photos[rows]) @ ranks.unit(to_place(dense)).T
    return Reading(photos, local, maps, grid)


# ---------------------------------------------------------------------------------------- scores


class _Scorer:
    """Adds scores of one query set to a table, under the right splits and clusters."""

    def __init__(self, table: Table, query: Query, n_train: int):
        self.table, self.query, self.n_train = table, query, n_train
        self.codes, self.clusters = stats.encode_clusters(query.sites)
        sizes = np.bincount(self.codes)[self.codes]
        self.company = sizes > 1  # a photo alone at its site has nobody to be confused with
        self.galleries = {f"{query.label}, all photos": np.ones(len(sizes), bool)}
        if self.company.any():
            self.galleries = {f"{query.label}, within site": self.company} | self.galleries

    def _add(self, split, encoder, metric, make, values, rows, how, unit=""):
        codes, clusters = stats.encode_clusters(self.query.sites[rows])
        values = np.asarray(values)
        if values.ndim == 2:  # several guesses a photo
            codes = np.repeat(codes, values.shape[1])
        self.table.add(
            split,
            encoder,
            metric,
            make(values.ravel(), codes),
            n=int(rows.sum()),
            clusters=clusters,
            n_train=self.n_train,
            unit=unit,
            **how,
        )

    def ranks(self, encoder: str, reading: Reading | None, **how) -> None:
        """Recall and median rank in every gallery, both directions; None: a random order."""
        for gallery, rows in self.galleries.items():
            groups = self.query.sites[rows] if gallery.endswith("within site") else None
            n = int(rows.sum())
            # equal vectors are all tied, and ties count as broken at random: chance, exactly
            photos = np.ones((n, 2)) if reading is None else reading.photos[rows]
            local = np.ones((n, 2)) if reading is None else reading.local[rows]
            for split, asking, asked in ((gallery, photos, local), (gallery + BACK, local, photos)):
                found = ranks.match_ranks(asking, asked, groups)
                for k in (k for k in KS if k < found.size.max()):  # all of a gallery is no finding
                    self._add(
                        split, encoder, f"recall@{k}", stats.mean, found.recall_at(k), rows, how
                    )
                self._add(split, encoder, "median rank", stats.median, found.rank(), rows, how)
            if groups is None and self.clusters > 1:  # other sites' rows are what does not match
                self._add(
                    gallery,
                    encoder,
                    MARGIN,
                    stats.mean,
                    margins(photos, local, self.query.sites),
                    rows,
                    how,
                )

    def positions(self, encoder: str, guesses, **how) -> None:
        """Median distance in metres between guessed positions [n, 2] or [n, G, 2] and the truth."""
        guesses = np.asarray(guesses)
        several = guesses[:, None] if guesses.ndim == 2 else guesses
        errors = np.stack(
            [
                localisation.errors_m(several[:, g], self.query.xy, self.query.size_m)
                for g in range(several.shape[1])
            ],
            1,
        )
        rows = np.ones(len(guesses), bool)
        self._add(
            f"{self.query.label}, within chip",
            encoder,
            "localisation error",
            stats.median,
            errors,
            rows,
            how,
            unit="m",
        )


def available(dataset: Dataset) -> dict[str, str]:
    """`retrieval`: "" where the folder has scenes and photos, else what it needs."""
    both = len(dataset.scenes()) and len(dataset.street())
    return {"retrieval": "" if both else "needs scenes and street photos"}


def ask(dataset: Dataset, pairs_folder, photo_px: int) -> tuple:
    """What a retrieval task asks: the held-out pairs (Query), the manifest rows of the training
    photos outside of them, and those gathered (None with fewer than MIN_TRAIN). Raises Skipped
    where there are fewer than two pairs."""
    pairs = store.load(pairs_folder)
    count = pairs.manifest["photo_id"].nunique() if len(pairs.manifest) else 0
    if count < 2:
        raise Skipped(f"{count} pairs in {pairs_folder}, two are needed")
    rows, label = held_out(pairs.manifest)
    training = pairs.manifest[pairs.manifest["split"] == "train"].drop_duplicates("photo_id")
    outside = training[~training["photo_id"].isin(rows["photo_id"])]
    enough = len(outside) >= MIN_TRAIN
    train = gather(pairs, dataset, outside, "train", photo_px) if enough else None
    return gather(pairs, dataset, rows, label, photo_px), outside, train


def calibration(pairs_folder, dataset: Dataset, photo_px: int) -> Query | None:
    """The photos of the validation split, which are not judged; None with fewer than MIN_TRAIN."""
    pairs = store.load(pairs_folder)
    rows = (
        pairs.manifest.query("split == 'val'")
        .sort_values(["photo_id", "chip"], kind="stable")
        .drop_duplicates("photo_id")
    )
    enough = len(rows) >= MIN_TRAIN
    return gather(pairs, dataset, rows.reset_index(drop=True), "val", photo_px) if enough else None


def run(task: str, dataset: Dataset, model: GAIR, *, pairs_folder, seeds: int, device: str):
    """All scores of the retrieval task, what it is judged by, notes, and one example."""
    config = model.config
    query, outside, train = ask(dataset, pairs_folder, config.sv_size)
    rows, label = query.rows, query.label
    table = Table("retrieval", "sv-rs", "site", dataset.name, dataset.synthetic)
    score = _Scorer(table, query, len(outside))
    how = dict(bands="10; RGB", normalisation=config.preprocessing)
    notes = [
        f"{len(rows):,} photos in {len(query.chips):,} chips at {score.clusters} sites "
        f"({label}); dense field of {query.cells} x {query.cells} cells a chip"
    ]
    if not score.company.all():
        notes.append(
            f"{int((~score.company).sum())} photos are alone at their site and not ranked within it"
        )

    mode = config.query_mode
    check = calibration(pairs_folder, dataset, config.sv_size)
    notes.append(
        "temperatures of the maps are fitted, for each encoder, on "
        f"{len(check.rows):,} photos of the validation split"
        if check
        else "no validation split: maps are read at the model's own temperature"
    )

    def judge(encoder: str, reading_of, probe: str, more: bool = False, **about) -> Reading:
        """Ranks and positions of one encoder; reading_of(query) -> Reading."""
        found = reading_of(query)
        score.ranks(encoder, found, probe=f"cosine, {probe}", **about)
        if found.maps is not None:
            warmth = (
                reading_of(check).fit_temperature(check)
                if check
                else float(model.temperatures()["incl"])
            )
            at = found.guesses(warmth)
            score.positions(encoder, at["disc"], probe=f"likeliest disc, {probe}", **about)
            if more:
                score.positions(SHARPEST, at["best"], probe=f"most similar cell, {probe}", **about)
                score.positions(EXPECTED, at["expected"], probe=f"spatial median, {probe}", **about)
                found.shown = at["disc"]
        return found

    ours = judge(OURS, lambda q: read(model, q, device=device), mode, more=True, **how)
    for seed in range(seeds):
        other = encode.random_init(config, seed)
        judge(RANDOM, lambda q: read(other, q, device=device), mode, **how)  # noqa: B023
    if mode == "nili":
        judge(RAW, lambda q: read(model, q, mode="bilinear", device=device), "bilinear", **how)
    if mode != "mean":
        judge(MEAN, lambda q: read(model, q, mode="mean", device=device), "mean", **how)
    if train is not None:
        judge(
            COLOURS,
            lambda q: colour_reading(train, q),
            "CCA",
            bands="10; RGB",
            normalisation="none",
        )
    else:
        notes.append(f"{len(outside)} training pairs: no colour baseline ({MIN_TRAIN} are needed)")
    score.ranks("chance", None, probe="none")
    _constants(score, query, outside)
    example = {"query": query, "reading": ours, "model": model}
    return table, mainline(query.label, table), notes, example


def _constants(score: _Scorer, query: Query, training: pd.DataFrame) -> None:
    """Positions guessed without looking: random, the centre, and from the training positions."""
    n, rng = len(query.rows), np.random.default_rng(0)
    score.positions("random point", rng.uniform(-1, 1, (n, GUESSES, 2)), probe="none")
    score.positions("chip centre", np.zeros((n, 2)), probe="none")
    if len(training) >= 10:
        xy = training[["x", "y"]].to_numpy(np.float64)
        score.positions(
            "a training position", xy[rng.integers(0, len(xy), (n, GUESSES))], probe="none"
        )
        score.positions(
            "best constant", np.tile(localisation.best_constant(xy), (n, 1)), probe="none"
        )


def mainline(label: str, table: Table) -> list[tuple[str, str, str]]:
    """(key, split, metric) of what the task is judged by; the first is the headline."""
    wanted = [
        ("recall_at_1_site", "within site", "recall@1"),
        ("recall_at_1_all", "all photos", "recall@1"),
        ("recall_at_10_all", "all photos", "recall@10"),
        ("median_rank_all", "all photos", "median rank"),
        ("localisation_error_m", "within chip", "localisation error"),
        ("recall_at_1_site_back", "within site" + BACK, "recall@1"),
        ("recall_at_10_all_back", "all photos" + BACK, "recall@10"),
        ("cosine_margin", "all photos", MARGIN),
    ]
    known = {(split, metric) for split, metric, _ in table.entries}
    found = [(key, f"{label}, {gallery}", metric) for key, gallery, metric in wanted]
    return [row for row in found if row[1:] in known]

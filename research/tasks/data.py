"""The examples, labels and splits of a probing task.

A task brings its splits as *schemes*. Where the data has a split by site, that split is used, and
probe seed s trains on its own nine tenths of the training sites. Where it has none, five folds with
an assignment of its own per seed. Beside both stands a split over rows (flattering: neighbours of
the test rows are in the training rows): what the representation knows about a place that it has
not seen is the difference.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from gairlib.bands import BANDS, canonical
from gairlib.geo import blocks
from research.evaluation.splits import Folds, fitting_size, folds
from research.tasks.result import HELD_OUT, SHIFTED, TEST, Split

FOLDS = 5
TRAIN_SHARE = 0.9  # of the training sites, drawn anew for each probe seed
FEW = 100  # labels of the few-label split: labels are what a pretrained encoder should save
# A "site" where photos name none: about 10 km, and less where all photos lie in one city or quarter
PHOTO_BLOCK_DEGREES = 0.1
CITY_BLOCK_DEGREES = (PHOTO_BLOCK_DEGREES, 0.05, 0.02, 0.01, 0.005, 0.002)
MIN_BLOCKS = 10  # two in each fold
ONE_AREA = "all examples lie in one area"  # how the note on such a split begins
ONE_CITY = 0.1  # degrees: with smaller blocks a split says nothing about other places


@dataclass(frozen=True)
class Scheme:
    """A way of splitting: folds(seed), and the groups [n] that must not be torn apart in training.

    A row is tested at most once a seed, and the same rows are tested under every seed. held_out and
    labels: see `research.tasks.result.Split`. shifted: rows [m] of a second test set, of places
    unlike all others, which the same fits are asked about beside those that the folds test.
    """

    name: str
    folds: Callable[[int], Folds]
    groups: np.ndarray
    held_out: str
    labels: int | None = None
    degrees: float | None = None  # of spatial blocks; None: no such blocks
    clusters: np.ndarray | None = None  # what the bootstrap draws [n], where not the task's
    cluster: str = ""
    shifted: np.ndarray | None = None

    @property
    def split(self) -> Split:
        """What results keep of it."""
        return Split(self.name, self.held_out, self.labels)

    @property
    def shifted_split(self) -> Split | None:
        """What results keep of the second test set, None where there is none."""
        if self.shifted is None:
            return None
        return Split(f"shifted {self.held_out}s", self.held_out, self.labels, shifted=True)


@dataclass
class TaskData:
    """Examples of one task. inputs: photo rows (sv), chips in DN [n, 10, px, px] or `Places` (rs),
    (lon, lat) [n, 2] (location). kind: "regression", "classification" or "multilabel". labels: [n]
    float or str. clusters: [n] what the bootstrap draws. synthetic: whether the labels are (a
    synthetic dataset may list `real_tables` in dataset.json).
    """

    name: str
    modality: str
    kind: str
    target: str
    inputs: object
    labels: np.ndarray
    clusters: np.ndarray
    cluster: str
    schemes: list[Scheme]
    synthetic: bool
    bands: str = ""
    notes: list[str] = field(default_factory=list)
    lonlat: np.ndarray | None = None  # [n, 2] degrees where the examples are, if that is known
    degrees: float | None = None  # of the blocks that `clusters` are; None: no such blocks
    # All labels [n] of these inputs by column, this task's first; NaN or "" where there is none: a
    # network may learn them together
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    # Which example [i] each of the inputs belongs to, where an example has several; else None
    example: np.ndarray | None = None

    @property
    def present(self) -> tuple[str, ...] | None:
        """The bands of chips that lack some, by `bands`; None where all are there."""
        there = tuple(name for name in self.bands.split(",") if canonical(name))
        return there if 0 < len(there) < len(BANDS) else None

    def asked(self, held_out: bool) -> list[Scheme]:
        """The schemes; held_out: without those that hold no place out, where others do."""
        places = [scheme for scheme in self.schemes if scheme.held_out != "row"]
        return places if held_out and places else self.schemes

    def first_input(self, row: int) -> int:
        """The first of an example's inputs."""
        return row if self.example is None else int(np.flatnonzero(self.example == row)[0])

    def of_inputs(self, values: np.ndarray) -> np.ndarray:
        """What holds of the examples [n], for each of the inputs [i]."""
        return values if self.example is None else values[self.example]

    def inputs_of(self, rows: np.ndarray) -> np.ndarray:
        """The inputs of some examples [m]."""
        return rows if self.example is None else np.flatnonzero(np.isin(self.example, rows))

    def answered(self, answers: np.ndarray, asked: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Answers [a] for the inputs `asked` -> those for the examples `rows` [m], their means."""
        if self.example is None:
            return answers
        codes, n = self.example[asked], len(self.labels)
        sums, counts = np.bincount(codes, answers, n), np.bincount(codes, minlength=n)
        return sums[rows] / counts[rows]

    def pooled(self, x: np.ndarray) -> np.ndarray:
        """Features of the inputs [i, D] -> of the examples [n, D], the mean over each one's."""
        if self.example is None:
            return x
        sums = np.zeros((len(self.labels), x.shape[1]))
        np.add.at(sums, self.example, x)
        return (sums / np.bincount(self.example)[:, None]).astype(x.dtype)


@dataclass(frozen=True)
class Places:
    """Positions in chips: row i lies at xy[i] (in [-1, 1]) of chips[chip[i]]."""

    chips: np.ndarray  # [c, 10, px, px] uint16, DN
    chip: np.ndarray  # [n]
    xy: np.ndarray  # [n, 2] float64
    heading: np.ndarray | None = None  # [n] degrees in which photos look there, NaN unknown
    side_m: np.ndarray | None = None  # [c] of the chips

    def __len__(self) -> int:
        return len(self.chip)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.chips[self.chip[row]]


def site_folds(split, sites, seed: int) -> Folds:
    """One fold: test rows as given, training rows of a random TRAIN_SHARE of the other sites."""
    split, sites = np.asarray(split).astype(str), np.asarray(sites).astype(str)
    test, rest = np.flatnonzero(split == TEST), np.flatnonzero(~np.isin(split, HELD_OUT))
    names = np.unique(sites[rest])
    keep = max(min(len(names), 5), int(round(TRAIN_SHARE * len(names))))
    chosen = np.random.default_rng(seed).permutation(names)[:keep]
    return [(rest[np.isin(sites[rest], chosen)], test)]


def site_schemes(
    split: pd.Series | None, sites: np.ndarray, degrees: float | None = None
) -> list[Scheme]:
    """By the data's own split where it has a test part, else over sites; and over rows beside it,
    which flatters (the test rows' own sites are trained on): what a site not seen costs. Rows of
    the split "shifted" are trained on in no scheme, and tested by the strictest one.

    degrees: of the blocks that `sites` are where photos name none (`photo_sites`)."""
    rows = np.arange(len(sites))
    place = "site" if degrees is None else "block"
    if split is None or not (split == TEST).any() or split.isin(HELD_OUT).all():
        return [random_folds(rows), site_blocks(f"{place}s", sites, place)]
    names = split.to_numpy(dtype=str)

    def few(seed: int) -> Folds:
        ((train, test),) = site_folds(names, sites, seed)
        return [(np.sort(np.random.default_rng(seed).permutation(train)[:FEW]), test)]

    # one draw of test rows for all seeds, as many as the split has
    drawn = np.full(len(names), "train", dtype="<U7")
    drawn[names == SHIFTED] = SHIFTED
    order = np.random.default_rng(0).permutation(len(names))
    order = order[names[order] != SHIFTED]
    drawn[order[: int((names == TEST).sum())]] = TEST
    shifted = np.flatnonzero(names == SHIFTED)
    return [
        Scheme("random rows", lambda seed: site_folds(drawn, rows, seed), rows, "row"),
        Scheme(f"held-out {place}s, {FEW} labels", few, sites, place, FEW),
        Scheme(
            f"held-out {place}s",
            lambda seed: site_folds(names, sites, seed),
            sites,
            place,
            shifted=shifted if len(shifted) else None,
        ),
    ]


def random_folds(rows: np.ndarray) -> Scheme:
    """FOLDS folds over rows [n]."""
    return Scheme(f"random, {FOLDS} folds", lambda seed: folds(rows, FOLDS, seed), rows, "row")


def site_blocks(what: str, groups: np.ndarray, held_out: str) -> Scheme:
    """FOLDS folds over whole groups [n]; `what` they are called, in the plural."""
    name = f"{what}, {FOLDS} folds"
    return Scheme(name, lambda seed: folds(groups, FOLDS, seed), groups, held_out)


def photo_sites(street: pd.DataFrame) -> tuple[np.ndarray, str, float | None]:
    """What counts as one place for photos: the site where two or more are named, else a block of
    0.1 degrees, or of the largest size of CITY_BLOCK_DEGREES that gives MIN_BLOCKS of them; its
    name, and the size of the blocks (None for sites)."""
    if "site" in street and street["site"].notna().all() and street["site"].nunique() != 1:
        return street["site"].astype(str).to_numpy(dtype=str), "site", None
    if not len(street):
        return np.array([], dtype=str), f"{PHOTO_BLOCK_DEGREES}° block", PHOTO_BLOCK_DEGREES
    size = fitting_size(street[["lon", "lat"]], CITY_BLOCK_DEGREES, MIN_BLOCKS)
    return blocks(street[["lon", "lat"]], size), f"{size:g}° block", size


def one_place(street: pd.DataFrame, column: str) -> str | None:
    """None where photos with a label can be split, by a split of their own or by place, else the
    reason why not."""
    if "split" in street and street["split"].eq("test").any() and street["split"].ne("test").any():
        return None
    sites, cluster, _ = photo_sites(street)
    if len(np.unique(sites)) > 1:
        return None
    return f"all {len(street)} photos with `{column}` lie in one {cluster}: nothing can be held out"


def of_one_city(cluster: str, degrees: float | None) -> list[str]:
    """A note on what a split by blocks smaller than ONE_CITY can show; none for larger ones."""
    if degrees is None or degrees >= ONE_CITY:
        return []
    return [
        f"{ONE_AREA}: places are {cluster}s (about {111 * degrees:.2g} km), so "
        "the split shows what is known of streets not seen in this area, and nothing about other "
        "cities"
    ]

"""Which benchmarks a dataset folder can run, and the examples, labels and splits of each.

Names: `rs-landcover`, `rs-eurosat`, `rs-street-<column>` and `sv-<column of street.csv>`,
`rs-built_up`, `segmentation-landcover`, `location-<table>-<column>`, `retrieval`,
`retrieval-sv-location`, `retrieval-rs-location`, and those of published benchmarks
(`pangaea-<set>`, `geobench-<set>`, `placepulse-<attribute>`). Numbers become a regression (R2),
text a classification (accuracy).

A task brings its splits as *schemes*. Where the data has a split by site, that split is used, and
probe seed s trains on its own nine tenths of the training sites. Where it has none, five folds with
an assignment of its own per seed. Beside both stands a split over rows (flattering: neighbours of
the test rows are in the training rows): what the representation knows about a place that it has
not seen is the difference.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module

import numpy as np
import pandas as pd

from gairlib.data.dataset import Dataset
from gairlib.data.tables import read as read_table
from gairlib.errors import BadInput
from research.evaluation.splits import Folds, blocks, folds
from research.tasks.task_labels import check_split, label_kind, labelled

FOLDS = 5
TRAIN_SHARE = 0.9  # of the training sites, drawn anew for each probe seed
FEW = 100  # labels of the few-label split: labels are what a pretrained encoder should save
MAX_ROWS = 20_000  # of a location table; more are thinned out by a fixed seed
BLOCK_DEGREES = (10.0, 2.0, 0.5)  # the first that gives at least MIN_BLOCKS blocks
MIN_BLOCKS = 30
PHOTO_BLOCK_DEGREES = 0.1  # about 10 km: a "site" where photos name none
TILE_PX, TILE_STRIDE, TILE_M = 64, 32, 640.0

# Tasks that are more than a probe on labelled rows: prefix of their names -> module. A module has
# `available(dataset)`, name -> "" or the reason why this folder cannot run it, and
# `run(task, dataset, model, *, pairs_folder, seeds, device)` -> (Table, mainline, notes, example);
# it may take `extra` too (`benchmark_probe.Options`), and the example may hold `regions`.
FAMILIES: dict[str, str] = {
    "retrieval-": "research.tasks.places",  # the first prefix that fits counts
    "retrieval": "research.tasks.retrieval",
    "segmentation-": "research.tasks.segmentation.landcover",
    "pangaea-": "research.tasks.published.pangaea",
    "geobench-": "research.tasks.published.geobench",
    "placepulse-": "research.tasks.published.place_pulse",
}

# columns of street.csv and of location tables that say where, when or whence rather than what
NOT_LABELS = set(
    "photo_id path lon lat captured_at heading fov pitch roll split site scene_id source licence "
    "license width height note is_spherical view_yaw sequence sequence_id image_id id url sha256 "
    "altitude compass_angle camera make model geometry bytes uuid orig_id photo_source "
    "sequence_index sequence_img_count projection_type user_id city_id datetime_local given_crs "
    "hFoV vFoV type_highway osmid".split()
)
# what photos were labelled with by hand in Global Streetscapes: each is a question of its own
ATTRIBUTES = (
    "weather",
    "lighting",
    "lighting_condition",
    "platform",
    "view_direction",
    "glare",
    "pano_status",
    "quality",
    "reflection",
)
PLACES = ("country", "continent", "climate")


@dataclass(frozen=True)
class Scheme:
    """A way of splitting: folds(seed), and the groups [n] that must not be torn apart in training.

    A row is tested at most once a seed, and the same rows are tested under every seed.
    """

    name: str
    folds: Callable[[int], Folds]
    groups: np.ndarray
    degrees: float | None = None  # of spatial blocks; None: no such blocks
    clusters: np.ndarray | None = None  # what the bootstrap draws [n], where not the task's
    cluster: str = ""


@dataclass
class TaskData:
    """Examples of one task. inputs: photo rows (sv), chips in DN [n, 10, px, px] (rs), (lon, lat)
    [n, 2] (location). labels: [n] float or str. clusters: [n] what the bootstrap draws.
    synthetic: whether the labels are (a synthetic dataset may list `real_tables` in dataset.json).
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


# ---------------------------------------------------------------------------------------- splits


def held_out(split, sites, seed: int, share: float = TRAIN_SHARE) -> Folds:
    """One fold: test rows as given, training rows of a random `share` of the other sites."""
    split, sites = np.asarray(split).astype(str), np.asarray(sites).astype(str)
    test, rest = np.flatnonzero(split == "test"), np.flatnonzero(split != "test")
    names = np.unique(sites[rest])
    keep = max(min(len(names), 5), int(round(share * len(names))))
    chosen = np.random.default_rng(seed).permutation(names)[:keep]
    return [(rest[np.isin(sites[rest], chosen)], test)]


def site_schemes(split: pd.Series | None, sites: np.ndarray) -> list[Scheme]:
    """By the data's own split where it has a test part, else over sites; and over rows beside it,
    which flatters (the test rows' own sites are trained on): what a site not seen costs."""
    rows = np.arange(len(sites))
    if split is not None and (split == "test").any() and (split != "test").any():
        names = split.to_numpy(dtype=str)

        def few(seed: int) -> Folds:
            ((train, test),) = held_out(names, sites, seed)
            return [(np.sort(np.random.default_rng(seed).permutation(train)[:FEW]), test)]

        # one draw of test rows for all seeds, as many as the split has
        drawn = np.full(len(names), "train", dtype="<U5")
        order = np.random.default_rng(0).permutation(len(names))
        drawn[order[: int((names == "test").sum())]] = "test"
        return [
            Scheme("random rows", lambda seed: held_out(drawn, rows, seed), rows),
            Scheme(f"held-out sites, {FEW} labels", few, sites),
            Scheme("held-out sites", lambda seed: held_out(names, sites, seed), sites),
        ]
    return [
        Scheme(f"random, {FOLDS} folds", lambda seed: folds(rows, FOLDS, seed), rows),
        Scheme(f"sites, {FOLDS} folds", lambda seed: folds(sites, FOLDS, seed), sites),
    ]


# -------------------------------------------------------------------------------------- inventory


def available(dataset: Dataset) -> dict[str, str]:
    """Task name -> "" where this folder can run it, else the reason why not."""
    found: dict[str, str] = {}
    scenes = dataset.scenes()
    covered = sum((dataset.folder / "landcover" / f"{s.id}.tif").is_file() for s in scenes)
    found["rs-landcover"] = (
        "" if covered >= 2 else f"landcover/ holds maps for {covered} scenes, two are needed"
    )
    found["rs-built_up"] = found["rs-landcover"] or _built_classes(dataset)
    from research.tasks.tiles import without_eurosat  # which imports this module

    found["rs-eurosat"] = without_eurosat(dataset)
    street = dataset.street()
    for column in street.columns:
        if column not in NOT_LABELS:
            found[f"sv-{column}"] = label_kind(street[column])[1]
            found[f"rs-street-{column}"] = found[f"sv-{column}"] or (
                "" if len(scenes) else "no scenes to read the label from"
            )
    for name, table in dataset.tables().items():
        for column in table.columns:
            if column not in NOT_LABELS:
                found[f"location-{name}-{column}"] = label_kind(table[column])[1]
    for module in dict.fromkeys(FAMILIES.values()):
        found |= import_module(module).available(dataset)
    # names become those of DVC stages and of files
    return {
        name: why
        if re.fullmatch(r"[\w.-]+", name)
        else "a name may hold letters, digits, dots, dashes and underscores only: rename the column"
        for name, why in found.items()
    }


def _built_classes(dataset: Dataset) -> str:
    """ "" where landcover/classes.csv names a class of buildings, else the reason why not."""
    from research.tasks.tiles import is_built

    names = read_table(dataset.folder / "landcover" / "classes.csv", ("value", "name"))["name"]
    return (
        ""
        if names.astype(str).map(is_built).any()
        else (
            "landcover/classes.csv names no class of buildings (a name with `built` or `building`)"
        )
    )


def family(name: str):
    """The module that runs a task which is more than a probe, None for a probing task."""
    found = [m for prefix, m in FAMILIES.items() if name.startswith(prefix)]
    return import_module(found[0]) if found else None


def reason(name: str, dataset: Dataset) -> str:
    """Why this folder cannot run the task, "" if it can; BadInput for a name of no known form."""
    found = available(dataset)
    if name in found:
        return found[name]
    for prefix, part in (
        ("sv-", "street.csv has no column"),
        ("location-", "tables/ hold no"),
        ("rs-street-", "street.csv has no column"),
    ):
        if name.startswith(prefix):
            return f"{part} `{name.removeprefix(prefix)}`"
    raise BadInput(
        f"unknown task {name!r}: tasks are retrieval, retrieval-sv-location, "
        "retrieval-rs-location, rs-landcover, rs-built_up, rs-eurosat, segmentation-landcover, "
        "rs-street-<column> and "
        "sv-<column of street.csv>, location-<table>-<column>, pangaea-<set>, geobench-<set>, "
        "placepulse-<attribute>"
    )


def default_for(dataset: Dataset) -> list[str]:
    """The tasks worth running by default: all that run, but of texts only those with a meaning that
    is known (a table may hold a dozen others).

    From location tables numbers, countries, continents and the attributes of Global Streetscapes;
    of street labels every attribute for the photo tower, else one of each kind.
    """
    found = [name for name, why in available(dataset).items() if not why]
    street, tables = dataset.street(), dataset.tables()
    chosen, kinds = [], set()
    for name in found:
        if name.startswith(("sv-", "rs-street-")):
            family, column = name.split("-", 1)
            kind = label_kind(street[column.removeprefix("street-")])[0]
            attribute = family == "sv" and column in ATTRIBUTES
            if (family, kind) in kinds and not attribute:
                continue
            kinds.add((family, kind))
        if name.startswith("location-"):
            table, column = _table_column(name, dataset)
            if label_kind(tables[table][column])[0] == "classification":
                if column not in PLACES + ATTRIBUTES:
                    continue
        chosen.append(name)
    return chosen


# ---------------------------------------------------------------------------------------- loading


def load(
    name: str,
    dataset: Dataset,
    pairs_folder=None,
    block_degrees: Sequence[float] = BLOCK_DEGREES[:1],
) -> TaskData:
    """Examples, labels and schemes of a probing task; rs-street-* reads the pairs as well.
    block_degrees: the blocked splits of a location task."""
    why = reason(name, dataset)
    if why:
        raise BadInput(f"{dataset.name} cannot run {name}: {why}")
    if name.startswith("sv-"):
        return _street(name, dataset)
    if name.startswith("location-"):
        return _location(name, dataset, block_degrees)
    from research.tasks import tiles  # the raster tasks are a module of their own

    if name.startswith("rs-street-"):
        return tiles.street_from_above(name, dataset, pairs_folder)
    loaders = {
        "rs-landcover": tiles.landcover,
        "rs-built_up": tiles.built_up,
        "rs-eurosat": tiles.eurosat,
    }
    return loaders[name](dataset)


def photo_sites(street: pd.DataFrame) -> tuple[np.ndarray, str]:
    """What counts as one place for photos: the site, else a block of 0.1 degrees; and its name."""
    if "site" in street and street["site"].notna().all():
        return street["site"].astype(str).to_numpy(dtype=str), "site"
    return blocks(street[["lon", "lat"]], PHOTO_BLOCK_DEGREES), f"{PHOTO_BLOCK_DEGREES}° block"


def _street(name: str, dataset: Dataset) -> TaskData:
    column, notes = name.removeprefix("sv-"), []
    street = dataset.street()
    kind = label_kind(street[column])[0]
    if "is_spherical" in street and street["is_spherical"].any():
        notes.append(f"{int(street['is_spherical'].sum())} spherical photos left out")
        street = street[~street["is_spherical"]]
    street, labels = labelled(street, column, kind, "photos", notes)
    sites, cluster = photo_sites(street)
    split = street["split"] if "split" in street else None
    if kind == "classification":
        check_split(labels, split, f"street.csv, column `{column}`")
    return TaskData(
        name,
        "sv",
        kind,
        column,
        street,
        labels,
        sites,
        cluster,
        site_schemes(split, sites),
        dataset.synthetic,
        "RGB",
        notes,
        street[["lon", "lat"]].to_numpy(np.float64),
    )


def _table_column(name: str, dataset: Dataset) -> tuple[str, str]:
    """Table and column of a location task (either may hold dashes)."""
    for table, rows in dataset.tables().items():
        for column in rows.columns:
            if name == f"location-{table}-{column}":
                return table, column
    raise BadInput(f"{dataset.name} has no table and column for {name}")


def block_sizes(lonlat: np.ndarray, asked: Sequence[float]) -> list[float]:
    """Those of the asked block sizes (degrees) that give a table MIN_BLOCKS blocks, else the first
    of BLOCK_DEGREES that does. The last is the one a task is judged by: 10 where it is there."""

    def count(degrees: float) -> int:
        return len(np.unique(blocks(lonlat, degrees)))

    kept = [float(d) for d in dict.fromkeys(asked) if count(d) >= MIN_BLOCKS]
    kept = kept or [next((d for d in BLOCK_DEGREES if count(d) >= MIN_BLOCKS), BLOCK_DEGREES[-1])]
    return sorted(kept, key=lambda d: (d == BLOCK_DEGREES[0], d))


def _location(name: str, dataset: Dataset, block_degrees: Sequence[float]) -> TaskData:
    table, column = _table_column(name, dataset)
    notes, rows = [], dataset.tables()[table]
    kind = label_kind(rows[column])[0]
    rows, labels = labelled(rows, column, kind, "rows", notes)
    if len(rows) > MAX_ROWS:
        pick = np.sort(np.random.default_rng(0).choice(len(rows), MAX_ROWS, replace=False))
        notes.append(f"{MAX_ROWS:,} of {len(rows):,} rows, drawn with seed 0")
        rows, labels = rows.iloc[pick].reset_index(drop=True), labels[pick]
    lonlat = rows[["lon", "lat"]].to_numpy(dtype=np.float64)
    sizes, row = block_sizes(lonlat, block_degrees), np.arange(len(rows))
    # Rows nearby share their errors however the folds were drawn: never less than 10 degrees
    least = block_sizes(lonlat, BLOCK_DEGREES[:1])[0]
    cells = blocks(lonlat, least)
    synthetic = dataset.synthetic and table not in dataset.about.get("real_tables", [])
    schemes = [Scheme(f"random, {FOLDS} folds", lambda seed: folds(row, FOLDS, seed), row)]
    schemes += [_blocked(lonlat, d, least) for d in sizes]
    return TaskData(
        name,
        "location",
        kind,
        column,
        lonlat,
        labels,
        cells,
        f"{least:g}° block",
        schemes,
        synthetic,
        "",
        notes,
        lonlat,
    )


def _blocked(lonlat: np.ndarray, degrees: float, least: float) -> Scheme:
    """Folds of whole blocks; the bootstrap draws the larger of these and of `least` degrees."""
    cells, size = blocks(lonlat, degrees), max(degrees, least)
    return Scheme(
        f"{degrees:g}° blocks, {FOLDS} folds",
        lambda seed: folds(cells, FOLDS, seed),
        cells,
        degrees,
        blocks(lonlat, size),
        f"{size:g}° block",
    )

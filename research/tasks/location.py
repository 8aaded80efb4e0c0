"""`location-<table>-<column>`: a column of a location table, from (lon, lat) alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from gairlib.data.dataset import Dataset
from gairlib.geo import blocks
from research.evaluation.splits import block_count, fitting_size, folds
from research.tasks.data import FOLDS, Scheme, TaskData, of_one_city, random_folds
from research.tasks.labels import (
    ATTRIBUTES,
    label_columns,
    label_kind,
    labelled,
    why_left_out,
    why_no_label,
)
from research.tasks.probing import ProbeTask
from research.tasks.task import DEFAULTS, Options

PREFIX = "location-"
PLACES = ("country", "continent", "climate")  # texts with a meaning that is known
MAX_ROWS = 20_000  # more are thinned out by a fixed seed
# the first that gives at least MIN_BLOCKS blocks; the last ones are for tables of a city
BLOCK_DEGREES = (10.0, 2.0, 0.5, 0.1, 0.02, 0.005)
MIN_BLOCKS = 30


@dataclass(frozen=True)
class Location(ProbeTask):
    """A column of tables/<table>.csv. By default numbers run, and of texts PLACES and what photos
    are labelled with (a table may hold a dozen others)."""

    table: str
    column: str
    subject = "place"
    held_out = "block"

    @property
    def name(self) -> str:
        return f"{PREFIX}{self.table}-{self.column}"

    @property
    def question(self) -> str:
        return f"Do coordinates alone tell {_words(self.table)}: {_words(self.column)}?"

    @property
    def claim(self) -> str:
        return f"telling {_words(self.column)} from coordinates (table {_words(self.table)})"

    @classmethod
    def instances(cls, dataset: Dataset) -> list[Self]:
        tables = dataset.tables().items()
        return [cls(name, column) for name, table in tables for column in label_columns(table)]

    @classmethod
    def named(cls, name: str) -> Self | None:
        if not name.startswith(PREFIX):
            return None
        table, _, column = name.removeprefix(PREFIX).partition("-")
        return cls(table, column)

    @classmethod
    def worth_running(cls, tasks: list[Self], dataset: Dataset) -> list[Self]:
        tables = dataset.tables()
        return [
            task
            for task in tasks
            if task.column in PLACES + ATTRIBUTES
            or label_kind(tables[task.table][task.column])[0] != "classification"
        ]

    def available(self, dataset: Dataset) -> str | None:
        table = dataset.tables().get(self.table)
        if table is None or self.column not in table:
            return f"tables/ hold no `{self.name.removeprefix(PREFIX)}`"
        if why := why_left_out(table, self.column):
            return f"`{self.column}` is no label: {why}"
        if why := why_no_label(table, self.column):
            return why
        places = table.loc[table[self.column].notna(), ["lon", "lat"]].to_numpy(dtype=np.float64)
        if block_count(places, BLOCK_DEGREES[-1]) > 1:
            return None
        return (
            f"all {len(places)} rows with `{self.column}` lie in one {BLOCK_DEGREES[-1]:g}° block: "
            "nothing can be held out"
        )

    def load(self, dataset: Dataset, options: Options = DEFAULTS) -> TaskData:
        notes, rows = [], dataset.tables()[self.table]
        kind = label_kind(rows[self.column])[0]
        rows, labels = labelled(rows, self.column, kind, "rows", notes)
        if len(rows) > MAX_ROWS:
            pick = np.sort(np.random.default_rng(0).choice(len(rows), MAX_ROWS, replace=False))
            notes.append(f"{MAX_ROWS:,} of {len(rows):,} rows, drawn with seed 0")
            rows, labels = rows.iloc[pick].reset_index(drop=True), labels[pick]
        lonlat = rows[["lon", "lat"]].to_numpy(dtype=np.float64)
        # Rows nearby share their errors however the folds were drawn: never less than 10 degrees
        least = block_sizes(lonlat, BLOCK_DEGREES[:1])[0]
        sizes = block_sizes(lonlat, options.block_degrees)
        notes += of_one_city(f"{least:g}° block", least)
        real = self.table in dataset.about.get("real_tables", [])
        return self.data(
            dataset,
            kind=kind,
            target=self.column,
            inputs=lonlat,
            labels=labels,
            clusters=blocks(lonlat, least),
            cluster=f"{least:g}° block",
            schemes=[
                random_folds(np.arange(len(rows))),
                *(blocked(lonlat, d, least) for d in sizes),
            ],
            synthetic=dataset.synthetic and not real,
            notes=notes,
            lonlat=lonlat,
            degrees=least,
        )


def _words(name: str) -> str:
    return name.replace("_", " ")


def block_sizes(lonlat: np.ndarray, asked: Sequence[float]) -> list[float]:
    """Those of the asked block sizes (degrees) that give a table MIN_BLOCKS blocks, else the first
    of BLOCK_DEGREES that does. The last is the one a task is judged by: 10 where it is there."""
    kept = [float(d) for d in dict.fromkeys(asked) if block_count(lonlat, d) >= MIN_BLOCKS]
    kept = kept or [fitting_size(lonlat, BLOCK_DEGREES, MIN_BLOCKS)]
    return sorted(kept, key=lambda d: (d == BLOCK_DEGREES[0], d))


def blocked(lonlat: np.ndarray, degrees: float, least: float) -> Scheme:
    """Folds of whole blocks; the bootstrap draws the larger of these and of `least` degrees."""
    cells, size = blocks(lonlat, degrees), max(degrees, least)
    return Scheme(
        f"{degrees:g}° blocks, {FOLDS} folds",
        lambda seed: folds(cells, FOLDS, seed),
        cells,
        "block",
        degrees=degrees,
        clusters=blocks(lonlat, size),
        cluster=f"{size:g}° block",
    )

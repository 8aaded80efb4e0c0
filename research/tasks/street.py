"""Labels of street.csv: `sv-<column>` from the photo, `rs-street-<column>` from the chip above it.

`rs-street-<column>`: what a photo is labelled with (its visible green, its buildings) is guessed
from the chip alone, read at the photo's position: the local embedding must know what a street
looks like. No photo is used.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from gairlib.pairs import store
from research.tasks.data import Places, TaskData, of_one_city, one_place, photo_sites, site_schemes
from research.tasks.labels import (
    ATTRIBUTES,
    MIN_ROWS,
    check_split,
    label_columns,
    label_kind,
    labelled,
    why_left_out,
    why_no_label,
)
from research.tasks.probing import ColumnTask
from research.tasks.task import DEFAULTS, Options


@dataclass(frozen=True)
class StreetLabel(ColumnTask):
    """A column of street.csv; `always`: columns that run by default beside one of each kind."""

    always: ClassVar[Collection[str]] = ()
    held_out = "site"

    @classmethod
    def instances(cls, dataset: Dataset) -> list[Self]:
        return [cls(column) for column in label_columns(dataset.street())]

    @classmethod
    def worth_running(cls, tasks: list[Self], dataset: Dataset) -> list[Self]:
        street, seen, chosen = dataset.street(), set(), []
        for task in tasks:
            kind = label_kind(street[task.column])[0]
            if kind not in seen or task.column in cls.always:
                chosen.append(task)
            seen.add(kind)
        return chosen

    def available(self, dataset: Dataset) -> str | None:
        street = dataset.street()
        if self.column not in street:
            return f"street.csv has no column `{self.column}`"
        if why := why_left_out(street, self.column):
            return f"`{self.column}` is no label: {why}"
        return why_no_label(street, self.column) or one_place(
            street[street[self.column].notna()], self.column
        )

    def of_photos(
        self, rows: pd.DataFrame, kind: str, notes: list[str], source: str, columns: list[str]
    ) -> tuple[pd.DataFrame, dict]:
        """The rows with a label, and what a task's data hold whoever reads it: labels, places and
        splits. source: the table that errors name; columns: all label columns of the photos."""
        others = [c for c in columns if c != self.column and c in rows]
        rows, labels = labelled(rows, self.column, kind, "photos", notes)
        split = rows["split"] if "split" in rows else None
        if kind == "classification":
            check_split(labels, split, source)
        sites, cluster, degrees = photo_sites(rows)
        notes += of_one_city(cluster, degrees)
        return rows, {
            "kind": kind,
            "labels": labels,
            "clusters": sites,
            "cluster": cluster,
            "schemes": site_schemes(split, sites, degrees),
            "notes": notes,
            "lonlat": rows[["lon", "lat"]].to_numpy(np.float64),
            "columns": {self.column: labels} | all_labels(rows[others]),
        }


def all_labels(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Columns of labels by name: numbers [n], NaN where there is none, or texts, ""."""
    found = {}
    for column in rows:
        values = rows[column]
        if label_kind(values)[0] == "regression":
            numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
            found[column] = np.where(np.isfinite(numbers), numbers, np.nan)
        else:
            texts = values.astype(object).where(values.notna(), "")
            found[column] = texts.astype(str).to_numpy(dtype=str)
    return found


class Street(StreetLabel):
    """A label of the photos, from the photos."""

    prefix = "sv-"
    always = ATTRIBUTES
    subject = "photo"

    @property
    def question(self) -> str:
        return f"Does the photo tell its {self.label}?"

    @property
    def claim(self) -> str:
        return f"telling {self.label} from a photo"

    def load(self, dataset: Dataset, options: Options = DEFAULTS) -> TaskData:
        street, notes = dataset.street(), []
        kind = label_kind(street[self.column])[0]
        if "is_spherical" in street and street["is_spherical"].any():
            notes.append(f"{int(street['is_spherical'].sum())} spherical photos left out")
            street = street[~street["is_spherical"]]
        source = f"street.csv, column `{self.column}`"
        columns = label_columns(dataset.street())
        street, found = self.of_photos(street, kind, notes, source, columns)
        return self.data(dataset, target=self.column, inputs=street, **found)


class StreetFromAbove(StreetLabel):
    """A label of the paired photos, to be read off their chips. One chip a photo, its first."""

    prefix = "rs-street-"
    subject = "chip"

    @property
    def question(self) -> str:
        return f"Does the chip, read at a photo's position, tell the photo's {self.label}?"

    @property
    def claim(self) -> str:
        return f"telling a photo's {self.label} from the chip read at its position"

    def available(self, dataset: Dataset) -> str | None:
        why = super().available(dataset)
        return why or (None if len(dataset.scenes()) else "no scenes to read the label from")

    def load(self, dataset: Dataset, options: Options = DEFAULTS) -> TaskData:
        column = self.column
        notes = [
            "features are the RS tokens, read bilinearly where the photo stands; `chip mean` is "
            "their mean over the chip, by the same encoder"
        ]
        pairs = store.load(options.pairs)
        rows = pairs.manifest.drop_duplicates("photo_id").reset_index(drop=True)
        if column not in rows or len(rows) < MIN_ROWS:
            raise BadInput(
                f"{self.name}: {len(rows)} paired photos"
                + ("" if column in rows else f" without a column `{column}`")
                + f"; {MIN_ROWS} with that label are needed"
            )
        source = f"street.csv, column `{column}`, paired photos"
        kind = label_kind(rows[column])[0]
        columns = label_columns(dataset.street())
        rows, found = self.of_photos(rows, kind, notes, source, columns)
        used, chip = np.unique(rows["chip"].to_numpy(), return_inverse=True)
        chips = pairs.chips["chips"].isel(chip=used).to_numpy()
        heading = rows["heading"].to_numpy(np.float64) if "heading" in rows else None
        xy = rows[["x", "y"]].to_numpy(np.float64)
        places = Places(chips, chip, xy, heading, pairs.sides_m(used))
        return self.data(dataset, target=f"{column} from above", inputs=places, **found)

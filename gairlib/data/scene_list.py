"""The scenes of a dataset folder: what its table, its STAC files and its folders name, each once.

An item in scenes.json comes before the files that it describes, a row of scenes.csv before the file
that it names; rasters, folders of band files and items that neither lists are taken as well.
What links make two names of is read once, under the name that is no link. An item that is no scene
and describes rasters that are (job-results.json of openEO, for all dates together) is metadata.
"""

import fnmatch
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from gairlib.data import boundary, scene_folders, tables
from gairlib.data.scene import Scene, name_of
from gairlib.data.scene_assets import DIFFERS, SUFFIXES
from gairlib.data.scenes import open_scene
from gairlib.errors import BadInput, Missing

STAC = ("scenes.json", "items.json", "catalog.json")
TWICE = "scene_id stands more than once; first one kept"

# scene_id, path relative to the folder, row of scenes.csv, its files where the path is a folder
Named = tuple[str, str, Mapping, tuple[Path, ...]]


class SceneList:
    """Reads the scenes of `folder`. layouts, remote: see `Dataset`. skip: folders in it that are
    other parts. `rejected`: (what, reason); `metadata`: likewise, of items that are no scenes."""

    def __init__(self, folder: Path, layouts: Mapping[str, str], remote: bool, skip: Sequence[str]):
        self.folder, self.layouts, self.remote, self.skip = folder, layouts, remote, skip
        self.rejected: list[tuple[str, str]] = []
        self.metadata: list[tuple[str, str]] = []

    def read(self, table: Sequence[Mapping]) -> list[Scene]:
        """The usable scenes, sorted by id. table: the rows of scenes.csv, with scene_id, path."""
        named, items = self._named(table)
        listed = self._from_stac(items)
        described = _ways(Path(asset.href) for scene in listed for asset in scene.assets)
        described |= {folder for path in described for folder in path.parents}
        differ = {item for item, reason in self.rejected if DIFFERS in reason}
        found, seen, read = [], set(), {}
        for scene_id, path, row, files in named:
            own = files or (self.folder / path,)
            if scene_id in differ or described & _ways(own):
                continue  # an item describes it
            if scene_id in seen:
                self.rejected.append((scene_id, TWICE))
                continue
            places = self._places(own)
            if first := next((read[place] for place in places if place in read), None):
                self.rejected.append((scene_id, f"the same files as scene {first}"))
                continue
            seen.add(scene_id)
            read[places[0]] = scene_id
            try:
                found.append(self._open(scene_id, path, row, files))
            except (BadInput, Missing) as problem:
                self.rejected.append((scene_id, str(problem)))
        for scene in listed:
            if scene.id in seen:
                self.rejected.append((scene.id, TWICE))
                continue
            seen.add(scene.id)
            found.append(scene)
        self._tell_metadata(items, found)
        return sorted(found, key=lambda s: s.id)

    def _open(self, scene_id: str, path: str, row: Mapping, files: tuple[Path, ...]) -> Scene:
        matching = (v for k, v in self.layouts.items() if fnmatch.fnmatchcase(scene_id, k))
        with boundary.reading(f"scene {scene_id}"):
            home = tables.inside(self.folder, path)
            return open_scene(home, id=scene_id, layout=next(matching, None), row=row, files=files)

    def _from_stac(self, items: Sequence[Path]) -> list[Scene]:
        """Scenes that STAC files in the folder itself list, and items among its scenes."""
        found: list[Scene] = []
        listed = [self.folder / name for name in STAC if (self.folder / name).is_file()]
        for path in [*listed, *(p for p in items if p not in listed)]:
            from gairlib.data import stac  # needs the extra of that name

            try:
                with boundary.reading(path, "not readable as STAC"):
                    scenes, rejected = stac.from_file(path, remote=self.remote, inside=self.folder)
            except (BadInput, Missing) as problem:
                self.rejected.append((path.name, str(problem)))
                continue
            found += scenes
            self.rejected += [(row["item"], row["reason"]) for row in rejected]
        return found

    def _tell_metadata(self, items: Sequence[Path], found: Sequence[Scene]) -> None:
        """Moves rejected items whose rasters are all read by themselves to `metadata`."""
        read = {Path(f).name for s in found for f in (s.path, *(a.href for a in s.assets))}
        for path in items:
            item, rasters = {}, set()
            with suppress(Exception):  # what is wrong with an item is said where it is read
                item = json.loads(path.read_text(encoding="utf-8-sig"))
                rasters = {name_of(asset["href"]) for asset in item["assets"].values()}
                rasters = {name for name in rasters if Path(name).suffix.lower() in SUFFIXES}
            mine = [row for row in self.rejected if row[0] == item.get("id")]
            if mine and rasters and rasters <= read:
                self.rejected = [row for row in self.rejected if row not in mine]
                names = ", ".join(sorted(rasters)[:3]) + (" ..." if len(rasters) > 3 else "")
                reason = f"metadata of {names}, which are read by themselves; no scene of its own"
                self.metadata.append((path.name, reason))

    def _named(self, table: Sequence[Mapping]) -> tuple[list[Named], list[Path]]:
        """Scenes by scenes.csv and by what lies there, and the STAC items among them."""
        rows, listed = [], set()
        for row in table:
            rows.append((row["scene_id"], row["path"], row, ()))
            there = boundary.inside(self.folder, row["path"])
            listed.add(Path(os.path.relpath(there, self.folder)).as_posix())
        home, skip = boundary.inside(self.folder, "scenes"), None
        if not home.is_dir():  # a folder that is nothing but scenes, or one product
            home, skip = self.folder, self.skip
        found = scene_folders.find(home, self.folder.name.removesuffix(".SAFE"), skip)
        self.rejected += found.odd
        for entry in sorted(found.scenes, key=lambda e: self._linked(e.files or (e.path,))):
            relative = entry.path.relative_to(self.folder).as_posix()
            if entry.files or relative not in listed:
                rows.append((entry.id, relative, {}, entry.files))
        return rows, found.items

    def _linked(self, paths: Sequence[Path]) -> bool:
        """Whether a scene is reached by a link inside the folder."""
        root = boundary.resolved(self.folder)
        inside = [os.path.join(root, os.path.relpath(path, self.folder)) for path in paths]
        return any(boundary.resolved(path) != path for path in inside)

    def _places(self, paths: Sequence[Path]) -> list[frozenset[str]]:
        """Where a scene lies; and, by a link, the folders around, of which it is a part."""
        real = frozenset(map(boundary.resolved, paths))
        above = Path(min(real)).parents if len(real) == 1 and self._linked(paths) else ()
        return [real, *(frozenset([str(folder)]) for folder in above)]


def _ways(paths: Iterable[Path]) -> set[Path]:
    """Paths as they are named and, where links lead elsewhere, where they lie."""
    return {way for path in paths for way in (path.absolute(), Path(boundary.resolved(path)))}

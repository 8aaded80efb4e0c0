"""Part folders: what one task of the pairing leaves on disk, read back and checked.

chips.npy         uint16 [n, 10, px, px], harmonised DN, n >= 1
chips.parquet     one row a chip: CHIP_COLUMNS
manifest.parquet  one row a (photo or view, chip); `chip` and `photo` count from 0 in the part,
                  photo is -1 where photos are not stored
photos.bin        encoded photos one after the other; may be absent, as photos.parquet may
photos.parquet    photo_id, bytes: the length of each
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gairlib.errors import BadInput, Missing

CORNERS = 17  # of a chip's footprint: four steps an edge, the first corner again at the end

# One row of chips.parquet: text, one number, or so many numbers.
CHIP_COLUMNS = {
    "scene_id": str,
    "split": str,
    "crs": str,
    "scene_datetime": str,
    "transform": (6,),
    "footprint": (CORNERS, 2),
    "repeat": np.int32,
    "lon": np.float64,
    "lat": np.float64,
    "cloud_share": np.float64,
    "nodata_share": np.float64,
    "scene_cloud": np.float64,
    "photos": np.int32,
}


@dataclass(frozen=True)
class Part:
    """A part folder, of which only sizes and column types have been read."""

    folder: Path
    chips: int
    pairs: int
    photos: int
    photo_bytes: int
    schema: pa.Schema  # of the manifest

    def wrong(self, what: str) -> BadInput:
        return BadInput(f"{self.folder}: {what}; delete this part and run the pairing again")

    def pixels(self) -> np.ndarray:
        """Chips [n, 10, px, px], mapped, not read."""
        values = np.load(self.folder / "chips.npy", mmap_mode="r")
        if values.dtype != np.uint16 or values.ndim != 4 or len(values) != self.chips:
            raise self.wrong(
                f"chips.npy is {values.dtype} {values.shape}, not uint16 with "
                f"{self.chips} chips as chips.parquet says"
            )
        return values

    def about_chips(self) -> dict[str, np.ndarray]:
        """CHIP_COLUMNS as arrays; unknown text is ""."""
        frame = pd.read_parquet(self.folder / "chips.parquet")
        missing = [c for c in CHIP_COLUMNS if c not in frame]
        if missing:
            raise self.wrong(f"chips.parquet lacks the columns {missing}")
        return {name: _array(frame[name], kind) for name, kind in CHIP_COLUMNS.items()}

    def manifest(self) -> pa.Table:
        """Rows whose `chip` and `photo` are those of the part, which is checked."""
        table = pq.read_table(self.folder / "manifest.parquet").replace_schema_metadata()
        missing = [c for c in ("chip", "photo", "x", "y") if c not in table.column_names]
        if missing:
            raise self.wrong(f"manifest.parquet lacks the columns {missing}")
        for name, low, count in (("chip", 0, self.chips), ("photo", -1, self.photos)):
            values = table[name].to_numpy()
            if len(values) and not (low <= values.min() and values.max() < count):
                raise self.wrong(f"manifest.parquet names a {name} that is not there")
        return table

    def photo_table(self) -> pd.DataFrame:
        """photo_id and bytes of each stored photo."""
        frame = pd.read_parquet(self.folder / "photos.parquet", columns=["photo_id", "bytes"])
        if int(frame["bytes"].sum()) != self.photo_bytes:
            raise self.wrong("photos.bin is not as long as photos.parquet says")
        return frame


def look(folder: str | Path) -> Part:
    """Sizes of a part, from the heads of its files; Missing or BadInput names what is wrong."""
    folder = Path(folder)
    for name in ("chips.npy", "chips.parquet", "manifest.parquet"):
        if not (folder / name).is_file():
            raise Missing(f"{folder / name}: not there; delete this part and run the pairing again")
    photos = folder / "photos.parquet"
    stored = pq.read_metadata(photos).num_rows if photos.is_file() else 0
    manifest = pq.read_metadata(folder / "manifest.parquet")
    return Part(
        folder,
        pq.read_metadata(folder / "chips.parquet").num_rows,
        manifest.num_rows,
        stored,
        (folder / "photos.bin").stat().st_size if stored else 0,
        manifest.schema.to_arrow_schema().remove_metadata(),
    )


def _array(column: pd.Series, kind) -> np.ndarray:
    if kind is str:
        return column.astype(object).where(column.notna(), "").to_numpy(object)
    if isinstance(kind, tuple):
        return np.stack(column.to_list()).astype(np.float64).reshape(len(column), *kind)
    return column.to_numpy(kind)

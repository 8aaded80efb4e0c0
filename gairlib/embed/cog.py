"""A Cloud-Optimised GeoTIFF that is written part by part and survives being interrupted.

Rows arrive as they are finished. Each piece becomes a small uncompressed GeoTIFF in the folder
`<name>.parts` beside the target, renamed into place when it is whole, so a process that is killed
leaves only whole pieces. A run with the same settings takes up where the last one stopped; other
settings (another model, another window) start anew. At the end a virtual raster joins the pieces,
GDAL's COG driver copies it (512-pixel tiles, overviews by averaging), and the pieces go.

Values are float32 with NaN for "no data", or int8 with a scale and an offset a band: then value =
offset + scale * stored, -127 to 127, -128 for "no data", and what lies beyond the ends is clipped.
While it is written the disk holds the uncompressed values as well.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from affine import Affine
from rasterio import shutil as raster_shutil

from gairlib import files
from gairlib.errors import BadInput

CACHE_BYTES = 256 * 2**20  # of GDAL's own; by default it takes 5% of the machine
DTYPES = ("float32", "int8")
_TYPES = {"float32": "Float32", "int8": "Int8"}  # GDAL's names
_PART = re.compile(r"r(\d+)-(\d+)_c(\d+)-(\d+)\.tif$")


@dataclass(frozen=True)
class Grid:
    """The raster to be: bands x height x width, and where it lies."""

    bands: int
    height: int
    width: int
    crs: str
    transform: Affine  # (column, row) -> CRS


def check_path(path: str | Path) -> Path:
    """The target as a path; BadInput unless it ends in .tif or .tiff."""
    path = Path(path)
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise BadInput(f"{path}: a GeoTIFF is written, so the name must end in .tif")
    return path


class Parts:
    """Collects pieces of a raster and turns them into a COG at `path`.

    settings: everything that decides the values (JSON-able); pieces of other settings are thrown
    away. ends: (low, high), each [bands], for dtype "int8".
    """

    def __init__(
        self,
        path: str | Path,
        grid: Grid,
        settings: Mapping,
        dtype: str = "float32",
        ends: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None:
        if dtype not in DTYPES:
            raise BadInput(f"dtype {dtype!r}: choose one of {', '.join(DTYPES)}")
        if dtype == "int8" and ends is None:
            raise BadInput("dtype int8 needs known ends of every band: give a fitted PCA")
        self.path, self.grid, self.dtype = check_path(path), grid, dtype
        self.scale, self.offset = np.ones(grid.bands), np.zeros(grid.bands)
        if dtype == "int8":
            low, high = (np.asarray(v, np.float64) for v in ends)
            self.scale, self.offset = np.maximum(high - low, 1e-12) / 254, (low + high) / 2
        self.folder = self.path.with_name(self.path.name + ".parts")
        known = {
            **settings,
            "dtype": dtype,
            "grid": [grid.bands, grid.height, grid.width],
            "transform": list(grid.transform)[:6],
            "crs": grid.crs,
            "scale": self.scale.tolist(),
            "offset": self.offset.tolist(),
        }
        digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
        stamp = self.folder / "settings.sha256"
        if not stamp.is_file() or stamp.read_text() != digest:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            stamp.write_text(digest)

    def finished(self) -> dict[tuple[int, int], list[tuple[int, int]]]:
        """Pieces that are there: (first column, end) -> sorted [(first row, end), ...]."""
        found: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for file in self.folder.iterdir():
            if match := _PART.match(file.name):
                r0, r1, c0, c1 = map(int, match.groups())
                found.setdefault((c0, c1), []).append((r0, r1))
        return {k: sorted(v) for k, v in found.items()}

    def rows_done(self, columns: tuple[int, int]) -> int:
        """How many rows, from the top and without a gap, are finished of a strip of columns."""
        done = 0
        for first, end in self.finished().get(columns, []):
            if first != done:
                break
            done = end
        return done

    def add(self, row: int, column: int, values: np.ndarray) -> None:
        """A piece, float32 [bands, h, w] with NaN for no data, whose corner is (column, row)."""
        bands, h, w = values.shape
        name = f"r{row}-{row + h}_c{column}-{column + w}.tif"
        place = self.grid.transform @ Affine.translation(column, row)
        with (
            files.atomic_write(self.folder / name) as part,
            rasterio.open(
                part,
                "w",
                driver="GTiff",
                width=w,
                height=h,
                count=bands,
                dtype=self.dtype,
                crs=self.grid.crs,
                transform=place,
                nodata=self._nodata,
                tiled=True,
                blockxsize=512,
                blockysize=max(16, min(512, -(-h // 16) * 16)),
                bigtiff="IF_SAFER",
            ) as file,
        ):
            file.write(self._stored(values))

    @property
    def _nodata(self) -> float:
        return float("nan") if self.dtype == "float32" else -128

    def _stored(self, values: np.ndarray) -> np.ndarray:
        if self.dtype == "float32":
            return values.astype(np.float32, copy=False)
        out = np.rint((values - self.offset[:, None, None]) / self.scale[:, None, None])
        return np.where(np.isfinite(values), np.clip(out, -127, 127), -128).astype(np.int8)

    def finish(self, tags: Mapping[str, str], descriptions: Sequence[str]) -> Path:
        """Join the pieces, write the COG under its name and remove the pieces."""
        virtual = self.folder / "all.vrt"
        virtual.write_text(self._virtual(tags, descriptions), encoding="utf-8")
        part = self.folder / "whole.tif"
        with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
            raster_shutil.copy(
                virtual,
                part,
                driver="COG",
                compress="DEFLATE",
                level=1,
                predictor="YES",
                blocksize=_block(self.grid.bands),
                overview_resampling="AVERAGE",
                bigtiff="IF_SAFER",
                num_threads=str(min(4, os.cpu_count() or 1)),
            )
        os.replace(part, self.path)
        shutil.rmtree(self.folder)
        return self.path

    def _virtual(self, tags: Mapping[str, str], descriptions: Sequence[str]) -> str:
        """GDAL's VRT of the pieces, with the tags and the names of the bands."""
        grid, t = self.grid, self.grid.transform
        geo = ", ".join(repr(float(v)) for v in (t.c, t.a, t.b, t.f, t.d, t.e))
        pieces = [(r0, r1, *c) for c, rows in self.finished().items() for r0, r1 in rows]
        covered = sum((r1 - r0) * (c1 - c0) for r0, r1, c0, c1 in pieces)
        if covered != grid.height * grid.width:
            raise BadInput(f"{self.path}: {covered} of {grid.height * grid.width} cells are there")
        lines = [
            f'<VRTDataset rasterXSize="{grid.width}" rasterYSize="{grid.height}">',
            f"<SRS>{escape(rasterio.crs.CRS.from_user_input(grid.crs).to_wkt())}</SRS>",
            f"<GeoTransform>{geo}</GeoTransform><Metadata>",
            *(f'<MDI key="{escape(k)}">{escape(str(v))}</MDI>' for k, v in tags.items()),
            "</Metadata>",
        ]
        offset, scale = self.offset.tolist(), self.scale.tolist()
        for b in range(grid.bands):
            lines += [
                f'<VRTRasterBand dataType="{_TYPES[self.dtype]}" band="{b + 1}">',
                f"<Description>{escape(descriptions[b])}</Description>",
                f"<NoDataValue>{self._nodata}</NoDataValue>",
            ]
            if self.dtype == "int8":
                lines.append(f"<Offset>{offset[b]!r}</Offset><Scale>{scale[b]!r}</Scale>")
            for r0, r1, c0, c1 in sorted(pieces):
                size = f'xSize="{c1 - c0}" ySize="{r1 - r0}"'
                lines.append(
                    f'<SimpleSource><SourceFilename relativeToVRT="1">r{r0}-{r1}_c{c0}-{c1}.tif'
                    f"</SourceFilename><SourceBand>{b + 1}</SourceBand>"
                    f'<SrcRect xOff="0" yOff="0" {size}/>'
                    f'<DstRect xOff="{c0}" yOff="{r0}" {size}/></SimpleSource>'
                )
            lines.append("</VRTRasterBand>")
        return "\n".join([*lines, "</VRTDataset>"])


def _block(bands: int) -> int:
    """Side of a COG tile: of many bands smaller, so that a tile stays below some megabytes."""
    return 512 if bands <= 16 else 256 if bands <= 128 else 128

"""A Cloud-Optimised GeoTIFF that is written part by part and survives being interrupted.

Rows arrive as they are finished. Each piece becomes a small uncompressed GeoTIFF in the folder
`<name>.parts` beside the target, renamed into place when it is whole, with a CRC-32 of its content
in its name. A run with the same settings takes up where the last one stopped, and makes anew what a
power cut or a full disk has damaged; other settings (another model, another window) start anew. At
the end a virtual raster joins the pieces, GDAL's COG driver copies it (512-pixel tiles, overviews
by averaging), the copy is examined, takes the place of what stood there, and the pieces go.

GDAL says nothing of a full disk. So it writes pieces into memory and Python writes them to the
disk, and of the copy it is examined whether any byte is lacking (`gairlib.embed.cog_whole`).

Values are float32 with NaN for "no data"; or float16, which TIFF has as half floats (NBITS=16, GDAL
gives them as float32): 11 bits in half the space; or int8 with a scale and an offset a band: then
value = offset + scale * stored, -127 to 127, -128 for "no data", and what lies beyond the ends is
clipped. Whole numbers from 1 to 255 (classes) are uint8 with 0 for "no data"; with a palette
the file holds their colours and, beside it as GDAL has it (.aux.xml), their names. While it is
written the disk holds the uncompressed values as well.
"""

import hashlib
import json
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from affine import Affine
from rasterio import shutil as raster_shutil
from tqdm.auto import tqdm

from gairlib import files
from gairlib.embed.cog_whole import check, told
from gairlib.errors import BadInput

CACHE_BYTES = 256 * 2**20  # of GDAL's own; by default it takes 5% of the machine
DTYPES = ("float32", "float16", "int8", "uint8")
_TYPES = dict(zip(DTYPES, ("Float32", "Float32", "Int8", "Byte")))  # GDAL's names
_NODATA = dict(zip(DTYPES, (float("nan"), float("nan"), -128, 0)))
_PART = re.compile(r"r(\d+)-(\d+)_c(\d+)-(\d+)_([0-9a-f]{8})\.tif$")
Palette = Sequence[tuple[str, str]]  # name and colour "#rrggbb" of the values 1, 2, ...
FORMAT = 3  # of the pieces: those of another one are made anew


@dataclass(frozen=True)
class Grid:
    """The raster to be: bands x height x width, and where it lies."""

    bands: int
    height: int
    width: int
    crs: str
    transform: Affine  # (column, row) -> CRS

    def bar(self, name: str, shown: bool) -> tqdm:
        """A progress bar over the pixels."""
        return tqdm(
            total=self.height * self.width,
            unit="px",
            unit_scale=True,
            desc=name,
            mininterval=1,
            disable=not shown,
        )


def check_path(path: str | Path) -> Path:
    """The target as a path; BadInput unless it ends in .tif or .tiff."""
    path = Path(path)
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise BadInput(f"{path}: a GeoTIFF is written, so the name must end in .tif")
    return path


class Parts:
    """Collects pieces of a raster and turns them into a COG at `path`.

    settings: everything that decides the values (JSON-able); pieces of other settings are thrown
    away. ends: (low, high), each [bands], for dtype "int8". To be used in a `with` block, within
    which no other process writes the same file; BadInput names the one that does.
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
            raise BadInput("dtype int8 needs known ends of every band: give them")
        self.path, self.grid, self.dtype = check_path(path), grid, dtype
        self.scale, self.offset = np.ones(grid.bands), np.zeros(grid.bands)
        if dtype == "int8":
            low, high = (np.asarray(v, np.float64) for v in ends)
            self.scale, self.offset = np.maximum(high - low, 1e-12) / 254, (low + high) / 2
        self.folder = self.path.with_name(self.path.name + ".parts")
        self._held = ExitStack()
        known = {
            **settings,
            "format": FORMAT,
            "dtype": dtype,
            "grid": [grid.bands, grid.height, grid.width],
            "transform": list(grid.transform)[:6],
            "crs": grid.crs,
            "scale": self.scale.tolist(),
            "offset": self.offset.tolist(),
        }
        self.digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()

    def __enter__(self) -> "Parts":
        self._held.enter_context(files.owner(self.path))
        try:
            self._open()
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(self, *_) -> None:
        self._held.close()

    def _open(self) -> None:
        """An empty folder, or the one of the same settings with pieces that are whole."""
        stamp = self.folder / "settings.sha256"
        if not stamp.is_file() or stamp.read_bytes() != self.digest.encode():
            files.remove(self.folder)
            self.folder.mkdir(parents=True)
            stamp.write_text(self.digest)
        whole = {}  # columns -> rows from the top that are there without a gap
        for (first, end, *columns), name in sorted(self._pieces().items()):
            path, done = self.folder / name, whole.get(tuple(columns), 0)
            if first == done and _checksum(path.read_bytes()) == _PART.match(name)[5]:
                whole[tuple(columns)] = end
            else:
                path.unlink()

    def _pieces(self) -> dict[tuple[int, int, int, int], str]:
        """(first row, end, first column, end) -> name of the piece."""
        names = (file.name for file in self.folder.iterdir())
        found = (match for name in names if (match := _PART.match(name)))
        return {tuple(map(int, match.groups()[:4])): match[0] for match in found}

    def rows_done(self, columns: tuple[int, int]) -> int:
        """How many rows, from the top, are finished of a strip of columns [first, end)."""
        return max(
            (end for _, end, *of in self._pieces() if tuple(of) == tuple(columns)), default=0
        )

    def add(self, row: int, column: int, values: np.ndarray) -> None:
        """A piece, float32 [bands, h, w] with NaN for no data, whose corner is (column, row)."""
        bands, h, w = values.shape
        stored = self._stored(values)
        with told(self.path), rasterio.MemoryFile() as memory:
            with memory.open(
                driver="GTiff",
                width=w,
                height=h,
                count=bands,
                dtype=stored.dtype,
                crs=self.grid.crs,
                transform=self.grid.transform @ Affine.translation(column, row),
                nodata=self._nodata,
                tiled=True,
                blockxsize=512,
                blockysize=max(16, min(512, -(-h // 16) * 16)),
                bigtiff="IF_SAFER",
                **self._bits,
            ) as file:
                file.write(stored)
            data = memory.getbuffer()
            name = f"r{row}-{row + h}_c{column}-{column + w}_{_checksum(data)}.tif"
            # not synced: its checksum tells what a power cut has left of it
            with files.atomic_write(self.folder / name, durable=False) as part:
                part.write_bytes(data)

    @property
    def _nodata(self) -> float:
        return _NODATA[self.dtype]

    @property
    def _bits(self) -> dict:
        """What GDAL is told of numbers that are stored with fewer bits than their type has."""
        return {"nbits": 16} if self.dtype == "float16" else {}

    def _stored(self, values: np.ndarray) -> np.ndarray:
        if self.dtype == "uint8":
            return np.nan_to_num(values).astype(np.uint8)
        if self.dtype != "int8":
            half = np.float16 if self.dtype == "float16" else np.float32
            return values.astype(half, copy=False).astype(np.float32, copy=False)
        out = np.rint((values - self.offset[:, None, None]) / self.scale[:, None, None])
        return np.where(np.isfinite(values), np.clip(out, -127, 127), -128).astype(np.int8)

    def finish(
        self, tags: Mapping[str, str], descriptions: Sequence[str], palette: Palette = ()
    ) -> Path:
        """Join the pieces, write the COG under its name and remove the pieces. palette: name and
        colour "#rrggbb" of each value from 1 on, for one band of dtype "uint8".

        OSError where the disk does not take it: pieces and what stood there before stay.
        """
        virtual = self.folder / "all.vrt"
        virtual.write_text(self._virtual(tags, descriptions, palette), encoding="utf-8")
        names = self.path.with_name(self.path.name + ".aux.xml")
        shape = self.grid.bands, self.grid.height, self.grid.width
        whole = partial(check, target=self.path, shape=shape)
        with files.atomic_write(self.path, whole) as part, rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
            with told(self.path):
                raster_shutil.copy(
                    virtual,
                    part,
                    driver="COG",
                    compress="DEFLATE",
                    level=1,
                    predictor="NO" if palette else "YES",
                    blocksize=_block(self.grid.bands),
                    overview_resampling="MODE" if palette else "AVERAGE",
                    bigtiff="IF_SAFER",
                    num_threads=str(min(4, os.cpu_count() or 1)),
                    **self._bits,
                )
        names.unlink(missing_ok=True)  # of what stood there before
        if palette:
            with files.atomic_write(names) as part:
                part.write_text(_names(palette), encoding="utf-8")
        files.remove(self.folder)
        return self.path

    def _virtual(
        self, tags: Mapping[str, str], descriptions: Sequence[str], palette: Palette
    ) -> str:
        """GDAL's VRT of the pieces, with the tags and the names of the bands."""
        grid, t = self.grid, self.grid.transform
        geo = ", ".join(repr(float(v)) for v in (t.c, t.a, t.b, t.f, t.d, t.e))
        pieces = self._pieces()
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
            if palette:
                lines.append(_colours(palette))
            for (r0, r1, c0, c1), name in sorted(pieces.items()):
                size = f'xSize="{c1 - c0}" ySize="{r1 - r0}"'
                lines.append(
                    f'<SimpleSource><SourceFilename relativeToVRT="1">{name}</SourceFilename>'
                    f"<SourceBand>{b + 1}</SourceBand>"
                    f'<SrcRect xOff="0" yOff="0" {size}/>'
                    f'<DstRect xOff="{c0}" yOff="{r0}" {size}/></SimpleSource>'
                )
            lines.append("</VRTRasterBand>")
        return "\n".join([*lines, "</VRTDataset>"])


def _colours(palette: Palette) -> str:
    """GDAL's colour table, no colour for 0."""
    lines = ["<ColorInterp>Palette</ColorInterp><ColorTable>"]
    for r, g, b in [(0, 0, 0), *(bytes.fromhex(colour[1:]) for _, colour in palette)]:
        alpha = 255 if len(lines) > 1 else 0
        lines.append(f'<Entry c1="{r}" c2="{g}" c3="{b}" c4="{alpha}"/>')
    return "".join([*lines, "</ColorTable>"])


def _names(palette: Palette) -> str:
    """What GDAL reads beside a raster: the names of its categories, none for 0."""
    names = "".join(f"<Category>{escape(name)}</Category>" for name, _ in palette)
    return (
        '<PAMDataset><PAMRasterBand band="1"><CategoryNames><Category></Category>'
        f"{names}</CategoryNames></PAMRasterBand></PAMDataset>\n"
    )


def _checksum(data: bytes | memoryview) -> str:
    return f"{zlib.crc32(data):08x}"


def _block(bands: int) -> int:
    """Side of a COG tile: of many bands smaller, so that a tile stays below some megabytes."""
    return 512 if bands <= 16 else 256 if bands <= 128 else 128

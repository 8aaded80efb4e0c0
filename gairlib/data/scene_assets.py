"""Scenes whose bands lie in files of their own: 10 m and 20 m, L1C and L2A.

`open_folder` takes a folder with one raster a band, named as products and mirrors name them
(T32TMT_20220101T102319_B02_10m.jp2, B8A.tif, SCL_20m.jp2; a whole .SAFE folder too); `join` puts
the bands of any source together. The scene's grid is that of the finest band; all bands must share
its CRS and upper-left corner, and their pixels must be a whole multiple of its pixels (20 m on
10 m). Bands that the encoder does not take (60 m) are left alone. Where a band is there at several
resolutions the finest one is used.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio

from gairlib import bands, spectra
from gairlib.data import scene_metadata, scene_product
from gairlib.data.band_file import Grid, header, same
from gairlib.data.boundary import listing, reading
from gairlib.data.raster import open_raster
from gairlib.data.scene import REMOTE, Asset, Scene, is_remote, name_of, outline
from gairlib.data.scene_values import check_digital_numbers, thumbnail
from gairlib.errors import BadInput, Missing

SUFFIXES = (".tif", ".tiff", ".jp2")
DIFFERS = "its pixels are not where its item says"
SHIFT = 0.01  # in pixels of the finest band: corners closer than this are the same corner


@dataclass(frozen=True)
class Found:
    """One band as its source describes it; grid None: the file's header says it."""

    href: str
    index: int = 1
    grid: Grid | None = None
    nodata: float | None = None
    dtype: str | None = None
    scale: tuple[float, float] | None = None  # that its file declares, where it was opened
    unit: str | None = None  # likewise, of floats without a scale


def band_of(name: str) -> tuple[str | None, float | None]:
    """Band and pixel size in metres (None unknown) that a file's stem or an asset's key tells.

    "T32TMT_20220101T102319_B8A_20m" -> ("B8A", 20.0); "blue" -> ("B02", None). Masks of products
    (MSK_DETFOO_B02) are no bands.
    """
    if name.upper().startswith("MSK_"):
        return None, None
    found = re.fullmatch(r"(?:.*[_.-])?(B\d{1,2}A?|SCL)(?:[_-](10|20|60)m)?", name, re.IGNORECASE)
    if found:
        return bands.canonical(found[1]), float(found[2]) if found[2] else None
    return bands.canonical(name), None


def without_doubles(files: Sequence[Path]) -> list[Path]:
    """Without the bands of MAJA's surface reflectance (SRE) where those of the same product's flat
    reflectance (FRE), from which the slopes' light is taken out, lie beside them."""
    flat = {p.name.partition("_FRE_")[0] for p in files if "_FRE_" in p.name}
    return [p for p in files if "_SRE_" not in p.name or p.name.partition("_SRE_")[0] not in flat]


def join(found: dict[str, Found], what: str) -> tuple[Grid, dict[str, Asset], dict[str, Found]]:
    """The scene's grid, the asset of each band (and of "SCL" where there is one), and `found` with
    its headers read. BadInput where a band is missing or does not lie on the others' grid."""
    missing = [b for b in bands.BANDS if b not in found]
    if missing:
        raise BadInput(
            f"{what}: lacks band{'s' if len(missing) > 1 else ''} {' '.join(missing)}; "
            f"the ten bands {' '.join(bands.BANDS)} are needed"
        )
    found = {band: found[band] for band in (*bands.BANDS, "SCL") if band in found}
    shared = Counter(one.href for one in found.values())
    for band, one in found.items():
        if not _unopened(one):
            found[band] = _opened(one, band, what, shared[one.href] == 1)
    finest = min((f.grid for f in found.values()), key=lambda g: abs(g.transform.a))
    assets = {
        band: Asset(
            one.href, one.index, _ratio(one.grid, finest, f"{what}, band {band}"), one.nodata
        )
        for band, one in found.items()
    }
    return finest, assets, found


def _unopened(one: Found) -> bool:
    """Whether a band's description spares opening its file: on a server, and with its grid."""
    return one.grid is not None and is_remote(one.href)


def _opened(one: Found, band: str, what: str, alone: bool = False) -> Found:
    """A band with its file's header read; BadInput where the file has another grid than `one`, or
    should hold this band alone and holds several (dates, or a picture)."""
    name = name_of(one.href)
    head = header(one.href, f"{what}, band {band} ({name})", one.index)
    if alone and head.count > 1:
        raise BadInput(
            f"{what}, band {band}: {name} holds {head.count} bands; write the one that counts into "
            "a file of its own"
        )
    if one.grid is not None and not same(one.grid, head.grid):
        raise BadInput(
            f"{what}, band {band}: {DIFFERS}: {name} has "
            f"{head.grid.describe()}, the item {one.grid.describe()}"
        )
    return replace(
        one, grid=head.grid, dtype=head.dtype, scale=head.scale, unit=one.unit or head.unit
    )


def _ratio(grid: Grid, finest: Grid, what: str) -> int:
    """How many of the finest pixels one pixel of `grid` is wide; BadInput if not a whole number."""
    if grid.crs != finest.crs:
        raise BadInput(f"{what}: lies in {grid.crs[:20]}, other bands in {finest.crs[:20]}")
    own, fine = grid.transform, finest.transform
    ratio = round(own.a / fine.a)
    corner = ~fine @ (own.c, own.f)
    same = np.allclose((own.a, own.e), (ratio * fine.a, ratio * fine.e), rtol=1e-6, atol=0.0)
    turned = abs(own.b) + abs(own.d) + abs(fine.b) + abs(fine.d) > 0
    if ratio < 1 or not same or turned or max(abs(c) for c in corner) > SHIFT:
        raise BadInput(
            f"{what}: its pixels ({own.a:g} x {own.e:g} from {own.c:g}, {own.f:g}) are "
            f"no whole multiple of the finest band's ({fine.a:g} from {fine.c:g}, "
            f"{fine.f:g})"
        )
    for own_size, size in ((grid.width, finest.width), (grid.height, finest.height)):
        if not size <= own_size * ratio < size + ratio:
            raise BadInput(
                f"{what}: {own_size} px of {ratio} times the finest band's do not cover "
                f"its {size} px"
            )
    return ratio


def sampler(
    assets: dict[str, Asset], what: str, factor: float | None = None
) -> Callable[[], np.ndarray]:
    """A function that reads a thumbnail of the ten bands, [10, n] DN with nodata 0."""

    def sample() -> np.ndarray:
        rows, kinds = [], set()
        for band in bands.BANDS:
            asset = assets[band]
            options = REMOTE if is_remote(asset.href) else {}
            with (
                reading(
                    f"{what}, band {band} ({name_of(asset.href)})",
                    "pixels cannot be read; is it cut short or gone?",
                ),
                rasterio.Env(**options),
                open_raster(asset.href, what) as source,
            ):
                part = thumbnail(source, [asset.index], asset.nodata, asset.ratio, factor)
                rows.append(part.ravel())
                if part.dtype.itemsize == 1 or spectra.is_reflectance(part):
                    kinds.add(band)
        if 0 < len(kinds) < 10:
            raise BadInput(
                f"{what}: band {' '.join(sorted(kinds))} holds reflectance (0 to 1) or 8 bits, "
                "other bands do not; bring them to one scale"
            )
        shortest = min(r.size for r in rows)  # sizes that no ratio divides differ by a line
        dn = check_digital_numbers(np.stack([r[:shortest] for r in rows]), what, factor)
        spectra.exchanged(dn, what)
        return dn

    return sample


def build(
    id: str,
    path: Path,
    found: dict[str, Found],
    *,
    item: dict,
    tags: dict,
    row: dict,
    what: str,
    names: Sequence[str] = (),
    footprint: Callable | None = None,
) -> Scene:
    """A Scene out of bands: the part that all sources share. footprint: (grid) -> Polygon."""
    unopened = any(_unopened(one) for one in found.values())
    grid, assets, found = join(found, what)
    units = [found[b].unit for b in bands.BANDS]
    factor = scene_metadata.declared_factor(row, units, what)
    sample = sampler(assets, what, factor)
    if not unopened or any(str(found[b].dtype).startswith("float") for b in bands.BANDS):
        sample()  # refuses other scales and files that are cut short

    def in_files():
        return _scale_of({b: _opened(found[b], b, what) for b in bands.BANDS}, what)

    scale = in_files if unopened else _scale_of(found, what)
    offset, source = scene_metadata.offset(
        item, tags, row.get("processing_baseline"), "named", sample, what, scale, names
    )
    when, cloud = scene_product.date_and_cloud(item, tags, row)
    ten = tuple(assets[b] for b in bands.BANDS)
    return Scene(
        id,
        path,
        grid.crs,
        grid.transform,
        grid.width,
        grid.height,
        tuple(a.index for a in ten),
        "named",
        offset,
        source,
        0.0,
        when,
        cloud,
        None,
        footprint(grid)
        if footprint
        else outline(grid.transform, grid.crs, grid.width, grid.height, what),
        ten,
        assets.get("SCL"),
        1.0 if factor is None else factor,
    )


def _scale_of(found: dict[str, Found], what: str) -> tuple[float, float] | None:
    """The scale that the bands' own files, which were opened, declare."""
    known = {found[b].scale for b in bands.BANDS}
    if len(known) > 1:
        raise BadInput(
            f"{what}: scale and offset differ from band to band; bring them to one scale"
        )
    return known.pop()


def open_folder(
    folder: str | Path,
    *,
    id: str | None = None,
    row: dict | None = None,
    files: Sequence[Path] = (),
) -> Scene:
    """A scene out of a folder with one raster a band; BadInput or Missing says why not.

    id: by default the folder's name without .SAFE. row: its row of scenes.csv, as in open_scene.
    files: those to take, where the folder holds other scenes as well. Date, cloud cover and
    baseline come from a STAC item (the only one in the folder, or <folder>.json beside it, or
    <id>.json), else from the product's MTD_MSIL*.xml and names, else from row.
    """
    folder, row = Path(folder), row or {}
    id = id or folder.name.removesuffix(".SAFE")
    what = f"scene {id} ({folder.name}/)"
    if not folder.is_dir():
        raise Missing(f"{what}: there is no such folder")
    candidates: dict[str, list] = {}
    for path in without_doubles(files or listing(folder, deep=True).files):
        band, metres = band_of(path.stem)
        if path.suffix.lower() in SUFFIXES and (band in bands.BANDS or band == "SCL"):
            candidates.setdefault(band, []).append((metres or 0.0, str(path)))
    found = {}
    for band, paths in candidates.items():
        finest = [p for p in sorted(paths) if p[0] == min(paths)[0]]
        if len(finest) > 1:
            names = " and ".join(name_of(p) for _, p in finest[:2])
            raise BadInput(f"{what}: {names} are both band {band}; keep one product a folder")
        found[band] = Found(finest[0][1])
    names, tags = [id], {} if files else scene_product.product_tags(folder)
    if "B02" in found:
        when = scene_product.date_of_name(f"{folder.name} {name_of(found['B02'].href)}")
        tags |= {"datetime": when} if when and "datetime" not in tags else {}
        tags = header(found["B02"].href, f"{what}, band B02").tags | tags
        names.append(os.path.relpath(found["B02"].href, folder.parent))
    return build(
        id, folder, found, item=_item(folder, id), tags=tags, row=row, what=what, names=names
    )


def _item(folder: Path, id: str) -> dict:
    """The STAC item of a folder of bands; other JSON files (tileInfo.json) are left alone."""
    inside = [path for path in listing(folder).files if path.suffix.lower() == ".json"]
    named = [path for path in inside if path.stem == id]
    if len(named or inside) > 1:
        items = [path for path in inside if "stac_version" in path.read_text(errors="replace")]
        named = items if len(items) == 1 else named
    if len(named or inside) == 1:
        return scene_product.sidecar((named or inside)[0])
    return scene_product.sidecar(folder.parent / f"{folder.name}.json")

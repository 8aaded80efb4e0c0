"""Sentinel-2 scenes on disk: opens one raster with all bands, and reads scenes as harmonised DN.

Folders of one raster a band are opened by `gairlib.data.scene_assets`, the items of a catalogue by
`gairlib.data.stac`; what a Scene is stands in `gairlib.data.scene`. Whoever reads many chips of a
scene holds a `gairlib.data.scene_reader.Reader`.

`open_scene` reads only headers (and a thumbnail where the baseline offset must be guessed) and
refuses, with one sentence, what cannot be used. A chip whose ground size is a whole number of the
scene's pixels (give or take half a percent, which covers UTM's scale factor) is an exact window of
the scene. Pixels are never warped into another CRS.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.windows import Window

from gairlib import bands, spectra
from gairlib.data import band_file, band_names, scene_assets, scene_metadata, scene_product
from gairlib.data.boundary import reading
from gairlib.data.raster import open_raster
from gairlib.data.scene import Scene, check_georeferenced, corner, crs_name, north_up, outline
from gairlib.data.scene_reader import Reader
from gairlib.data.scene_values import check_digital_numbers, mask_band, thumbnail
from gairlib.errors import BadInput, Missing


def open_scene(
    path: str | Path,
    *,
    id: str | None = None,
    layout: str | None = None,
    row: dict | None = None,
    files: Sequence[Path] = (),
) -> Scene:
    """A raster with all ten bands, or a folder of one raster a band (`scene_assets`), as a Scene.

    Only headers and metadata are read; BadInput or Missing says why it cannot be used. layout:
    declared band layout of a single raster; row: its row of scenes.csv (layout,
    processing_baseline, datetime, cloud_cover, scale are read, all optional). What is declared in
    `layout` comes first. files: the band files of a folder that holds other scenes' as well.
    """
    path, row = Path(path), row or {}
    if path.is_dir():
        return scene_assets.open_folder(path, id=id, row=row, files=files)
    id = id or path.stem
    what = f"scene {id} ({path.name})"
    if not path.is_file():
        raise Missing(f"{what}: there is no such file")
    with reading(what, "not readable as a raster, or cut short"), warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)  # said below
        with open_raster(path, what) as source:
            return _scene(source, path, id, what, layout or row.get("layout"), row)


def _scene(source, path: Path, id: str, what: str, layout: str | None, row: dict) -> Scene:
    check_georeferenced(source, what)
    if source.transform == Affine.identity():
        raise BadInput(f"{what}: has no geotransform; the file does not say where its pixels lie")
    band_file.check_whole(source, what)
    crs = crs_name(source.crs, what)
    transform = north_up(source.transform, source.width, source.height, what)
    item = scene_product.sidecar(path)
    names, kept = _names(source, item, path.name, what)
    declared = layout
    layout, places, scl = bands.find(names, declared, what)
    indexes, scl = tuple(kept[p - 1] for p in places), scl and kept[scl - 1]
    nodata = float(source.nodata or 0.0)
    in_file = scene_metadata.declared_scale(source, indexes, what)
    plain = in_file is None and source.dtypes[0].startswith("float")
    units = [scene_metadata.unit(source, i) for i in indexes] if plain else []
    if plain and not any(units):
        told = band_names.units_in_item(item, path.name)
        units = [told[i - 1] for i in indexes] if len(told) == source.count else []
    factor = scene_metadata.declared_factor(row, units, what)
    sample = thumbnail(source, indexes, nodata, factor=factor).reshape(10, -1)
    sample = check_digital_numbers(sample, what, factor)
    if layout == "named":
        spectra.exchanged(sample, what)
    else:
        _check_order(source, kept, sample, layout, declared, what)
    tags = {"datetime": scene_product.date_of_name(path.name)} | source.tags()
    offset, known = scene_metadata.offset(
        item,
        tags,
        row.get("processing_baseline"),
        layout,
        sample,
        what,
        in_file,
        (id, path.name, path.parent.name),
    )
    when, cloud = scene_product.date_and_cloud(item, tags, row)
    return Scene(
        id,
        path,
        crs,
        transform,
        source.width,
        source.height,
        indexes,
        layout,
        offset,
        known,
        nodata,
        when,
        cloud,
        scl,
        outline(transform, crs, source.width, source.height, what),
        factor=1.0 if factor is None else factor,
    )


def _names(source, item: dict, filename: str, what: str) -> tuple[list[str | None], list[int]]:
    """The names of the bands that hold data, and their positions from 1: the descriptions in the
    file where they say which bands these are, else the STAC item's names, else the file's tags."""
    mask = mask_band(source)
    kept = [i for i in source.indexes if i != mask]
    names = [source.descriptions[i - 1] for i in kept]
    if set(bands.BANDS) & set(bands.understood(names)):
        return names, kept
    listed = band_names.in_item(item, filename)
    if len(listed) == source.count:
        listed = [listed[i - 1] for i in kept]
    if listed and len(listed) != len(kept):
        raise BadInput(
            f"{what}: what describes it (a STAC item, or the evalscript of request.json) names "
            f"{len(listed)} band(s), but the file has {source.count}"
        )
    for tags in [] if listed else band_names.in_tags(source):
        tags = [tags[i - 1] for i in kept]
        if set(bands.BANDS) & set(bands.understood(tags)):
            return tags, kept
    return listed or names, kept


def _check_order(
    source, kept: Sequence[int], sample: np.ndarray, layout: str, declared: str | None, what: str
):
    """BadInput where the spectrum contradicts a layout told by count alone, or a declared one where
    it fits the other order of as many bands. kept: of `_names`; sample: [10, n] of
    `check_digital_numbers`."""
    wrong = spectra.misordered(sample)
    count = bands.LAYOUTS[layout][1]
    if declared is None:
        if not wrong and count == 12:
            b01, b09 = (thumbnail(source, [kept[place]]).ravel() for place in (0, 9))
            if spectra.lacks_b8a(b09, sample[bands.BANDS.index("B08")]):
                wrong = "B09 would be dark as night, which B10 is"
            elif np.median(b01) < 0.1 * np.median(sample[0]):
                wrong = "B01 would be dark as night, which B02 is not"
        if wrong:
            raise BadInput(
                f"{what}: its bands have no names, and in the order that their count suggests "
                f"{wrong}; name the bands in the file, or declare the layout "
                f"({', '.join(bands.LAYOUTS)})"
            )
    for name, (positions, expected) in bands.LAYOUTS.items():
        if wrong and name != layout and expected == count:
            other = thumbnail(source, [kept[p - 1] for p in positions]).reshape(10, -1)
            if spectra.misordered(np.maximum(other, 0)) is None:
                raise BadInput(
                    f"{what}: in the declared layout {layout!r} {wrong}, but {name!r} fits; "
                    "correct the layout, or name the bands in the file"
                )


def read(scene: Scene, window: Window | None = None) -> np.ndarray:
    """The ten bands as uint16 [10, h, w], harmonised DN, nodata 0. The window must lie inside."""
    with Reader(scene) as reader:
        if window is None:
            return reader.window(0, 0, scene.width, scene.height)[0]
        return reader.window(*(int(v) for v in window.flatten()))[0]


def read_chip(
    scene: Scene, column: float, row: float, *, size_px: int, size_m: float
) -> tuple[np.ndarray, Affine]:
    """A chip of size_m metres around (column, row), shifted into the scene where it would reach
    out. Returns uint16 [10, size_px, size_px] and its transform."""
    width, height = scene.chip_pixels(size_m, column, row)
    if width > scene.width or height > scene.height:
        raise BadInput(f"scene {scene.id}: smaller than a chip of {size_m:g} m")
    c = corner(column - width / 2, width, scene.width)
    r = corner(row - height / 2, height, scene.height)
    with Reader(scene) as reader:
        chip = reader.chip(c, r, width, height, size_px)
    return chip.values, chip.transform


def tiles(
    scene: Scene, chip_px: int, chip_m: float, stride_px: int | None = None
) -> Iterator[tuple[np.ndarray, Affine]]:
    """Chips that cover the scene, row by row: (uint16 [10, px, px], transform).

    stride_px: in chip pixels, default chip_px (side by side). The last of a row and of a column is
    shifted into the scene. A scene smaller than a chip gives one chip of the whole scene, stretched
    to chip_px x chip_px; its transform tells the ground size that it really has.
    """
    with Reader(scene) as reader:
        for box in tile_boxes(scene, chip_px, chip_m, stride_px):
            chip = reader.chip(*box, chip_px)
            yield chip.values, chip.transform


def tile_boxes(
    scene: Scene, chip_px: int, chip_m: float, stride_px: int | None = None
) -> list[tuple[float, float, float, float]]:
    """(column, row, width, height) of the chips of `tiles`, in the scene's pixels."""
    width, height = scene.chip_pixels(chip_m, scene.width / 2, scene.height / 2)
    if width > scene.width or height > scene.height:
        return [(0.0, 0.0, scene.width, scene.height)]
    share = (stride_px or chip_px) / chip_px
    down, across = _starts(height, share, scene.height), _starts(width, share, scene.width)
    return [(c, r, width, height) for r in down for c in across]


def _starts(extent: float, share: float, available: int) -> list[float]:
    count = math.ceil((available - extent) / (extent * share) - 1e-9) + 1
    return [corner(i * extent * share, extent, available) for i in range(count)]

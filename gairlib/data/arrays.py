"""Scenes out of xarray: what odc-stac, stackstac or rioxarray have loaded, as files that we read.

The pixels go to a GeoTIFF, a row of blocks at a time, so that lazy arrays stay lazy; everything
else (which band is which, offsets, reflectance or digital numbers) is judged as in any other file,
by `scenes.open_scene`.
"""

import re
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
import xarray as xr
from affine import Affine
from pyproj import CRS

from gairlib import files
from gairlib.data import scenes
from gairlib.data.scene import Scene
from gairlib.errors import BadInput

ACROSS, DOWN = ("x", "lon", "longitude"), ("y", "lat", "latitude")
BLOCK = 512  # rows at a time
_kept: list[tempfile.TemporaryDirectory] = []  # gone when the process ends


def open_array(
    data: xr.DataArray | xr.Dataset,
    path: str | Path | None = None,
    *,
    id: str | None = None,
    layout: str | None = None,
    row: dict | None = None,
) -> Scene:
    """A scene of one date out of an array (band, y, x), or a Dataset with a variable (y, x) a band.

    CRS and transform as rioxarray and odc-stac write them: a coordinate `spatial_ref`, and x, y at
    the pixels' centres. Bands by their names ("B02", "blue", ...), NaN or `_FillValue` is no data.
    path: of the GeoTIFF that is written; default a temporary one, which goes when the process ends.
    id, layout, row: as `open_scene` takes them.
    """
    if isinstance(data, xr.Dataset):
        names = [n for n, v in data.data_vars.items() if _axes(v)]
        if not names:
            raise BadInput("Dataset: no variable has the dimensions y and x")
        parts = [data[n].squeeze(drop=True).reset_coords(drop=True) for n in names]
        array = xr.concat(parts, pd.Index(names, name="band"), coords="minimal", compat="override")
        array = array.assign_coords({n: c for n, c in data.coords.items() if n not in array.dims})
    else:
        array = data
    array, names = _banded(array)
    down, across = array.dims[1:]
    time = _time(data)
    if path is None:
        _kept.append(tempfile.TemporaryDirectory(prefix="gairlib-scene-"))
        path = Path(_kept[-1].name) / f"{id or 'scene'}.tif"
    profile = {
        "driver": "GTiff",
        "count": len(names),
        "width": array.sizes[across],
        "height": array.sizes[down],
        "dtype": array.dtype.name,
        "crs": _crs(data),
        "transform": _transform(data, array[across], array[down]),
        "nodata": _nodata(array),
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "bigtiff": "IF_SAFER",
    }
    with files.atomic_write(Path(path)) as part:
        with rasterio.open(part, "w", **profile) as file:
            file.descriptions = [str(name) for name in names]
            for top in range(0, profile["height"], BLOCK):
                rows = array.isel({down: slice(top, top + BLOCK)}).to_numpy()
                window = rasterio.windows.Window(0, top, profile["width"], rows.shape[1])
                file.write(rows, window=window)
    row = {**({"datetime": time} if time else {}), **(row or {})}
    return scenes.open_scene(path, id=id, layout=layout, row=row)


def _axes(array: xr.DataArray) -> tuple[str, str] | None:
    """The names of its dimensions (y, x)."""
    found = [d for names in (DOWN, ACROSS) for d in array.dims if str(d).lower() in names]
    return tuple(found) if len(found) == 2 else None


def _banded(array: xr.DataArray) -> tuple[xr.DataArray, list]:
    """(band, y, x) with the names of its bands; other dimensions must be of one entry."""
    axes = _axes(array)
    if axes is None:
        raise BadInput(f"array: dimensions {array.dims}; y and x (or lat and lon) are needed")
    rest = [d for d in array.dims if d not in axes]
    bands = [d for d in rest if re.fullmatch(r"bands?|channels?", str(d), re.I)] or [
        d for d in rest if array.sizes[d] > 1
    ]
    if len(bands) != 1 or any(array.sizes[d] > 1 for d in rest if d not in bands):
        sizes = {d: array.sizes[d] for d in rest}
        raise BadInput(
            f"array: beside {axes} there are {sizes}; one dimension of bands is needed, of the "
            "others one entry: array.isel(time=0)"
        )
    (band,) = bands
    array = array.isel({d: 0 for d in rest if d != band}).transpose(band, *axes)
    named = array.attrs.get("long_name")  # where rioxarray keeps a file's descriptions
    if not isinstance(named, tuple | list) or len(named) != array.sizes[band]:
        named = array[band].to_numpy().tolist()
    return array, list(named)


def _reference(data: xr.DataArray | xr.Dataset) -> dict:
    """The attributes of the CF grid mapping."""
    name = data.encoding.get("grid_mapping") or data.attrs.get("grid_mapping") or "spatial_ref"
    found = data.coords[name] if name in data.coords else getattr(data, "data_vars", {}).get(name)
    return {} if found is None else dict(found.attrs)


def _crs(data: xr.DataArray | xr.Dataset) -> str:
    about = _reference(data)
    said = about.get("crs_wkt") or about.get("spatial_ref") or data.attrs.get("crs")
    if not said:
        raise BadInput(
            "array: no CRS; array.rio.write_crs('EPSG:32633') of rioxarray writes the coordinate "
            "spatial_ref"
        )
    return CRS.from_user_input(said).to_wkt()


def _transform(data, x: xr.DataArray, y: xr.DataArray) -> Affine:
    if x.name in x.coords and y.name in y.coords and min(x.size, y.size) > 1:
        steps = [np.diff(v.to_numpy().astype(np.float64)) for v in (x, y)]
        dx, dy = (float(s.mean()) for s in steps)
        if any(np.abs(s - m).max() > 1e-3 * abs(m) for s, m in zip(steps, (dx, dy))):
            raise BadInput("array: x or y are not evenly spaced, so there is no grid")
        return Affine(dx, 0, float(x[0]) - dx / 2, 0, dy, float(y[0]) - dy / 2)
    stated = str(_reference(data).get("GeoTransform", "")).split()
    if len(stated) != 6:
        raise BadInput("array: neither coordinates x and y nor a GeoTransform say where it lies")
    return Affine.from_gdal(*map(float, stated))


def _nodata(array: xr.DataArray) -> float:
    where = (
        array.attrs.get("_FillValue"),
        array.encoding.get("_FillValue"),
        array.attrs.get("nodata"),
    )
    said = next((value for value in where if value is not None), None)
    if said is None:
        return float("nan") if array.dtype.kind == "f" else 0
    return float(said)


def _time(data: xr.DataArray | xr.Dataset) -> str | None:
    for name in ("time", "datetime"):
        if name in data.coords and data.coords[name].size == 1:
            moment = pd.Timestamp(data.coords[name].to_numpy().reshape(-1)[0])
            return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return None

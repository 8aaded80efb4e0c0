"""Adds what gairlib makes to a leafmap map that somebody already has, of either back end.

    m = leafmap.Map()                                     # ipyleaflet, or leafmap.foliumap's
    add_to(m, field)                                      # three principal components
    add_to(m, field, like=vector)                         # cosine with a photo's vector
    add_to(m, "landuse.tif")                              # a map of classes, with a legend
    add_to(m, gairlib.embed.photos(model, dataset))       # rows with pop-ups

    point_map("photos.parquet", like=vector)              # a million points, by lonboard

Layers stand in the map's own layer control under their names. Pictures are warped to EPSG:3857, as
Leaflet draws them, and lie in the map itself: nothing is served. They do not cross 180 degrees.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import rasterio
from numpy.typing import ArrayLike
from PIL import Image
from rasterio.warp import Resampling, calculate_default_transform, reproject, transform_bounds

from gairlib.data.boundary import reading
from gairlib.data.raster import open_raster
from gairlib.embed.field import Field, fit_colours
from gairlib.errors import BadInput, extra

SIDE = 2048  # pixels of a picture, at most
MERCATOR = "EPSG:3857"
ROWS = 65_536  # of an embedding file, at a time
RAMP = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))  # low to high


def add_to(
    m: Any,
    what: Field | gpd.GeoDataFrame | str | Path,
    name: str = "",
    *,
    like: ArrayLike | None = None,
    opacity: float = 0.8,
) -> None:
    """Add one layer to a leafmap Map `m`.

    what: a field (`gairlib.embed.dense_field`), as colours or, with a vector `like` [D] of the
    shared space, as similarity; a GeoTIFF with a colour table; or a table of photos, chips or
    places, whose columns but vectors are the pop-ups.
    """
    if isinstance(what, Field):
        picture, legend = _colours(what) if like is None else _similarity(what, like)
        name = name or ("field" if like is None else "similarity")
        _overlay(m, picture, what.scene.crs, what.transform, name, opacity)
    elif isinstance(what, gpd.GeoDataFrame):
        _rows(m, what, name or "places")
        return
    elif isinstance(what, str | Path):
        name = name or Path(what).stem
        picture, crs, transform, legend = _classes(Path(what))
        _overlay(m, picture, crs, transform, name, opacity)
    else:
        raise BadInput(
            f"{type(what).__name__}: a field, a GeoDataFrame or the path of a GeoTIFF is needed"
        )
    if legend:
        m.add_legend(title=name, legend_dict=legend)


def point_map(path: str | Path, like: ArrayLike, *, radius_m: float = 10.0) -> Any:
    """A lonboard Map of the rows of an embedding file (`gair embed`), each a point in the colour of
    its cosine with a vector `like` [D] of the shared space; a click shows the cosine. The colours
    span the 2nd to the 98th percentile; what is most similar is drawn last. radius_m: of a point,
    which is never less than a pixel wide."""
    with extra("points"):
        import lonboard
    lonlat, cosine = _similar_rows(Path(path), np.asarray(like, np.float32))
    order = np.argsort(cosine, kind="stable")
    lonlat, cosine = lonlat[order], cosine[order]
    low, high = np.percentile(cosine, [2, 98])
    points = gpd.points_from_xy(*lonlat.T)
    layer = lonboard.ScatterplotLayer.from_geopandas(
        gpd.GeoDataFrame({"cosine": cosine}, geometry=points, crs="EPSG:4326"),
        get_fill_color=_ramp(((cosine - low) / max(high - low, 1e-12)).clip(0, 1)),
        get_radius=radius_m,
        radius_min_pixels=1,
        pickable=True,
    )
    return lonboard.Map(layer)


def _similar_rows(path: Path, like: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(lon, lat) [n, 2] of the middles of an embedding file's rows, and their cosines [n]."""
    lonlat, cosine = [], []
    with reading(path, "no embedding file that can be read; `gair embed` writes them"):
        file = pq.ParquetFile(path)
        size = file.schema_arrow.field("embedding").type.list_size
        if like.shape != (size,) or not like.any():
            raise BadInput(f"like: {like.shape}, a vector [{size}] that is not all 0 is needed")
        for part in file.iter_batches(ROWS, columns=["bbox", "embedding"]):
            ends = [pc.struct_field(part["bbox"], k).to_numpy() for k in ("xmin", "ymin")]
            other = [pc.struct_field(part["bbox"], k).to_numpy() for k in ("xmax", "ymax")]
            lonlat.append((np.stack(ends, -1).astype(float) + np.stack(other, -1)) / 2)
            vectors = part["embedding"].flatten().to_numpy().reshape(-1, size)
            lengths = np.linalg.norm(vectors, axis=1).clip(1e-12)
            cosine.append(vectors @ like / lengths / np.linalg.norm(like))
    if not lonlat:
        raise BadInput(f"{path}: has no rows to show")
    return np.concatenate(lonlat), np.concatenate(cosine)


def _colours(field: Field) -> tuple[np.ndarray, dict]:
    known = field.values[field.valid]
    if not len(known):
        raise BadInput(f"scene {field.scene.id}: this part of it has no data to show")
    return _clear(fit_colours(known).rgb(field.values), field.valid), {}


def _similarity(field: Field, like: ArrayLike) -> tuple[np.ndarray, dict]:
    if np.shape(like) != field.values.shape[-1:]:
        raise BadInput(f"like: {np.shape(like)}, a vector [{field.values.shape[-1]}] is needed")
    cosine = field.similarity(like)
    low, high = np.nanmin(cosine), np.nanmax(cosine)
    share = np.nan_to_num((cosine - low) / max(high - low, 1e-12))
    legend = {f"cosine {v:.2f}": c for v, c in zip(np.linspace(low, high, len(RAMP)), RAMP)}
    return _clear(_ramp(share), field.valid), legend


def _ramp(share: np.ndarray) -> np.ndarray:
    """Colours uint8 [.., 3] of shares in [0, 1]."""
    steps = np.linspace(0, 1, len(RAMP))
    rgb = np.stack([np.interp(share, steps, channel) for channel in zip(*RAMP)], axis=-1)
    return rgb.round().astype(np.uint8)


def _clear(rgb: np.ndarray, valid: np.ndarray) -> np.ndarray:
    return np.dstack([rgb, np.where(valid, 255, 0).astype(np.uint8)])


def _classes(path: Path) -> tuple[np.ndarray, Any, Any, dict]:
    """A map's picture, as coarse as SIDE asks, where it lies, and its legend."""
    with reading(path, "not readable as a map"), open_raster(path) as file:
        if file.colorinterp[0] != rasterio.enums.ColorInterp.palette:
            raise BadInput(f"{path}: has no colour table; a map of classes is needed")
        by = max(1.0, max(file.shape) / SIDE)
        shape = tuple(max(1, int(n / by)) for n in file.shape)
        values, tags = file.read(1, out_shape=shape), file.tags()
        table = np.array([file.colormap(1).get(i, (0, 0, 0, 0)) for i in range(256)], np.uint8)
        table[:, 3] = np.where(np.arange(256) == file.nodata, 0, table[:, 3])
        place = file.transform @ file.transform.scale(file.width / shape[1], file.height / shape[0])
        legend = {
            tags.get(f"class_{i}", str(i)): tuple(map(int, table[i][:3]))
            for i in np.unique(values).tolist()
            if table[i, 3]
        }
        return table[values], file.crs, place, legend


def _overlay(m: Any, picture: np.ndarray, crs, transform, name: str, opacity: float) -> None:
    """A picture uint8 RGBA [h, w, 4] on the map."""
    high, wide = picture.shape[:2]
    bounds = rasterio.transform.array_bounds(high, wide, transform)
    to, width, height = calculate_default_transform(crs, MERCATOR, wide, high, *bounds)
    warped = np.zeros((4, height, width), np.uint8)
    reproject(
        np.ascontiguousarray(picture.transpose(2, 0, 1)),
        warped,
        src_transform=transform,
        src_crs=crs,
        dst_transform=to,
        dst_crs=MERCATOR,
        resampling=Resampling.nearest,
    )
    edges = rasterio.transform.array_bounds(height, width, to)
    west, south, east, north = transform_bounds(MERCATOR, "EPSG:4326", *edges)
    file = io.BytesIO()
    Image.fromarray(warped.transpose(1, 2, 0)).save(file, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    corners = [[south, west], [north, east]]
    with extra("maps"):
        if _of_folium(m):
            from folium.raster_layers import ImageOverlay

            layer = ImageOverlay(url, corners, name=name, opacity=opacity)
            layer.add_to(m)
        else:
            from ipyleaflet import ImageOverlay

            m.add(ImageOverlay(url=url, bounds=corners, name=name, opacity=opacity))
    m.zoom_to_bounds([west, south, east, north])


def _of_folium(m: Any) -> bool:
    return type(m).__mro__[1].__module__.startswith("folium")


def _rows(m: Any, rows: gpd.GeoDataFrame, name: str) -> None:
    """Points or outlines whose pop-ups hold what is no vector."""
    if not len(rows) or rows.crs is None:
        raise BadInput("the table has no rows, or no reference system")
    plain = [
        column
        for column in rows
        if column == rows.geometry.name or not isinstance(rows[column].iloc[0], list | np.ndarray)
    ]
    shown = rows[plain].to_crs("EPSG:4326")
    words = [c for c in plain if c != rows.geometry.name]
    shown = shown.assign(**{c: shown[c].astype(str) for c in words})
    m.add_gdf(shown, layer_name=name, info_mode="on_click", zoom_to_layer=False)

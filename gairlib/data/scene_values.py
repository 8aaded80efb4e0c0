"""What the numbers of an open raster mean: gaps and masks, and the scale that they are on."""

import math
import re

import numpy as np
import rasterio

from gairlib import spectra
from gairlib.bands import canonical
from gairlib.data.scene import upright
from gairlib.errors import BadInput


def nodata_to_zero(raw: np.ndarray, nodata: float, top: float = math.inf) -> np.ndarray:
    """Raw DN with nodata, numbers from `top` on and what is not a finite number as 0."""
    if raw.dtype.kind == "f":
        raw = np.nan_to_num(raw, nan=0.0, posinf=0.0, neginf=0.0)
    if nodata != 0 and not math.isnan(nodata):
        raw = np.where(raw == nodata, raw.dtype.type(0), raw)
    if raw.size and raw.max() >= top:
        raw = np.where(raw >= top, raw.dtype.type(0), raw)
    return raw


def ceiling(dtype, factor: float = 1.0) -> float:
    """The number from which on a raster has no data, whatever it declares: 65535 DN, which products
    give to saturated pixels and exports to gaps, or the largest of its type (8 bits excepted).
    factor: as in Scene."""
    dtype = np.dtype(dtype)
    largest = np.iinfo(dtype).max if dtype.kind in "iu" else math.inf
    return math.inf if dtype.itemsize == 1 else min(largest, 65535 / factor)


def mask_band(source) -> int | None:
    """The band, from 1, that says where an open raster has data: alpha by its colour or its name,
    or Sentinel Hub's dataMask. Not a band of that colour with the name of one of the ten, or among
    bands without names: some writers mark the wrong one."""
    names = source.descriptions
    plain = [re.sub("[^a-z]", "", (n or "").lower()) for n in names]
    by_name = [i for i, n in enumerate(plain, 1) if n in ("alpha", "datamask")]
    by_colour = [
        i
        for i, colour in enumerate(source.colorinterp, 1)
        if colour == rasterio.enums.ColorInterp.alpha
        and canonical(names[i - 1]) is None
        and (i == source.count or any(names))
    ]
    return next(iter(by_name + by_colour), None) if source.count > 1 else None


def mask_of(source) -> int | None:
    """Who says where an open raster has data: a band of it, from 1; 0 for a mask of GDAL's (a mask
    band, a .msk beside it); None where nobody does."""
    masked = any(rasterio.enums.MaskFlags.per_dataset in flags for flags in source.mask_flag_enums)
    return mask_band(source) or (0 if masked else None)


def unmasked(raw: np.ndarray, source, mask: int | None, band: int, **where) -> np.ndarray:
    """Raw numbers [n, h, w], 0 where `mask` (of `mask_of`) says that there is no data. where: the
    window or out_shape of the read; band: one that was read."""
    if mask is None:
        return raw
    there = source.read(mask, **where) if mask else source.read_masks(band, **where)
    return np.where(there > 0, raw, raw.dtype.type(0))


def thumbnail(
    source, indexes, nodata: float | None = None, ratio: int = 1, factor: float | None = None
) -> np.ndarray:
    """Raw numbers [n, h, w] of some bands of an open raster, at most 256 pixels a side, north-up,
    gaps of every spelling 0. ratio: as in Asset, so that bands of 10 m and 20 m get one size;
    factor: as in Scene."""
    scale = max(1.0, max(source.shape) * ratio / 256)
    small = tuple(max(1, round(n * ratio / scale)) for n in source.shape)
    nodata = source.nodata or 0.0 if nodata is None else nodata
    raw = source.read(indexes, out_shape=(len(indexes), *small))
    top = ceiling(raw.dtype, min(factor or 1.0, 1.0))  # a factor too large must show
    marks = np.unique(raw[raw >= top])
    top = top if marks.size <= 2 else math.inf  # so many are values, on another scale
    sample = nodata_to_zero(raw, float(nodata), top)
    sample = unmasked(sample, source, mask_of(source), indexes[0], out_shape=small)
    return upright(sample, source)


def scaled(raw: np.ndarray, factor: float) -> np.ndarray:
    """Raw numbers on another scale as DN, nodata 0; what has a value is at least 1."""
    if factor == 1:
        return raw
    return np.where(raw > 0, np.maximum(np.rint(raw * np.float64(factor)), 1.0), 0.0)


def check_digital_numbers(sample: np.ndarray, what: str, factor: float | None = None) -> np.ndarray:
    """A sample [10, n] of raw numbers as DN with negative ones as 0; BadInput if they are on
    another scale than reflectance x 10000. Single odd values do not decide. factor: of a scale that
    is declared (`Scene.factor`), None where nothing is."""
    negative = spectra.negative(sample)
    if negative is None and not (sample > 0).any():
        raise BadInput(f"{what}: holds no data; a thumbnail of it shows gaps only")
    sample = np.maximum(sample, 0)
    if factor is not None:
        sample = scaled(sample, factor)
        if (sample > 30_000).sum() > (sample > 0).sum() / 2:
            raise BadInput(
                f"{what}: with the scale that is declared most of it would have a reflectance "
                "above 3; correct the column `scale` of scenes.csv, or the file's unit"
            )
    elif sample.dtype.itemsize == 1:
        raise BadInput(
            f"{what}: 8-bit values (a picture, or a stretched product); digital numbers are "
            "reflectance x 10000 in 16 bits"
        )
    scale = negative or spectra.scale_of(sample)
    if factor is None:
        scale = scale or spectra.too_dark(sample) or spectra.too_bright(sample)
    if scale is not None:
        raise BadInput(
            f"{what}: values {scale}; store DN (reflectance x 10000), or say in the column `scale` "
            "of scenes.csv what a number is to be multiplied by to be reflectance"
        )
    return sample

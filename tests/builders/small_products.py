"""Small folders of Sentinel-2 products as providers and tools write them."""

import json
from pathlib import Path

import numpy as np
import rasterio
from builders.small_files import write_scene
from builders.small_scenes import EARTH_SEARCH, TWENTY, item, write_band, write_bands

from gairlib.bands import BANDS, canonical

SAFE = "S2A_MSI{level}_20220501T102031_N{baseline}_R065_T32TMT_20220501T140000.SAFE"
EARTH_ENGINE = "B1 B2 B3 B4 B5 B6 B7 B8 B8A B9 B11 B12 AOT WVP SCL TCI_R TCI_G TCI_B QA60".split()


def write_safe(folder: Path, level="L2A", baseline="0510", offset=True, size=96) -> Path:
    """An unpacked product: bands as .jp2 in GRANULE/, masks and pictures, the metadata. offset:
    whether the metadata list one, as they do from baseline 04.00 on."""
    safe = folder / SAFE.format(level=level, baseline=baseline)
    tile = safe / f"GRANULE/{level}_T32TMT_A035_20220501T102031"
    name = "T32TMT_20220501T102031_{band}"
    inside = "IMG_DATA/R{metres}m/" + name + "_{metres}m.jp2"
    inside = inside if level == "L2A" else "IMG_DATA/" + name + ".jp2"
    write_bands(
        tile, size, name=inside, low=1200, scl=level == "L2A", nodata=None, driver="JP2OpenJPEG"
    )
    coarse = np.full((size // 6, size // 6), 1500, np.uint16)
    write_band(tile / "IMG_DATA/T32TMT_20220501T102031_B01.jp2", coarse, 60, driver="JP2OpenJPEG")
    for mask in ("QI_DATA/MSK_DETFOO_B02.jp2", "IMG_DATA/T32TMT_20220501T102031_TCI.jp2"):
        write_band(tile / mask, np.ones((size, size), np.uint8), 10, driver="JP2OpenJPEG")
    kind = "BOA" if level == "L2A" else "RADIO"
    added = "".join(
        f'<{kind}_ADD_OFFSET band_id="{i}">-1000</{kind}_ADD_OFFSET>' for i in range(13)
    )
    of_level = "BOA_" if level == "L2A" else ""
    dotted = f"{baseline[:2]}.{baseline[2:]}" if baseline != "9999" else "99.99"
    (safe / f"MTD_MSI{level}.xml").write_text(
        f"<n1:Level_User_Product><PRODUCT_START_TIME>2022-05-01T10:20:31.024Z</PRODUCT_START_TIME>"
        f"<PROCESSING_BASELINE>{dotted}</PROCESSING_BASELINE>"
        f'<{of_level}QUANTIFICATION_VALUE unit="none">10000</{of_level}QUANTIFICATION_VALUE>'
        '<AOT_QUANTIFICATION_VALUE unit="none">1000.0</AOT_QUANTIFICATION_VALUE>'
        f"{added if offset else ''}"
        "<Cloud_Coverage_Assessment>23.5</Cloud_Coverage_Assessment></n1:Level_User_Product>"
    )
    (safe / "manifest.safe").write_text("<xfdu:XFDU/>")
    return safe


def write_item(
    folder: Path, id: str, style: str, *, flat="", name="{band}", low=1200, **properties
) -> dict[str, np.ndarray]:
    """The band files of a catalogue's item and the item as the catalogue gives it, with addresses
    on its server. style: earth-search or planetary; name: of the files, with {band} and {key}."""
    values = write_bands(folder, name=flat + "{band}.tif", low=low)
    described = item(id, "https://catalogue.invalid/x", style=style, **properties)
    for band in values:
        key = EARTH_SEARCH[band] if style == "earth-search" else band
        file = name.format(band=band, key=key, metres=20 if band in TWENTY else 10) + ".tif"
        (folder / f"{flat}{band}.tif").rename(folder / file)
        signature = "?sig=x" if style == "planetary" else ""
        described["assets"][key]["href"] = f"https://catalogue.invalid/x/{file}{signature}"
    (folder / f"{id}.json").write_text(json.dumps(described))
    return values


def write_export(path: Path, names, values: np.ndarray, *, nodata=None, **tags) -> Path:
    """One raster with band descriptions and tags; values [10, h, w] stand at the ten bands' names,
    ones at the others."""
    stack = np.ones((len(names), *values.shape[1:]), values.dtype)
    for i, name in enumerate(names):
        if canonical(name) in BANDS:
            stack[i] = values[BANDS.index(canonical(name))]
    write_scene(
        path, stack, crs="EPSG:32632", origin=(399_960, 5_300_040), names=names, nodata=nodata
    )
    with rasterio.open(path, "r+") as target:
        target.update_tags(**tags)
    return path

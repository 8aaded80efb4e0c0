"""MADOS: marine debris, oil and 13 other classes of the sea surface in 240-px Sentinel-2 crops.

    pangaea/mados/splits/{train,val,test}_X.txt              names <scene>_<crop>, one a line
    pangaea/mados/Scene_<n>/10/Scene_<n>_L2R_rhorc_<nm>_<crop>.tif    and 20/, 60/: one file a band
    pangaea/mados/Scene_<n>/10/Scene_<n>_L2R_cl_<crop>.tif            classes 1..15, 0 unlabelled

Bands are Rayleigh-corrected reflectance (ACOLITE), by their wavelength in nm, which differs by a
few nm between Sentinel-2A and 2B: 443/442 492 560/559 665 704 740/739 783/780 833 865/864 1614/1610
2202/2186. 20-m and 60-m bands are enlarged to 10 m by repeating pixels, as PANGAEA does. Ours is
reflectance x 10000; all ten bands are there. Labels are sparse: most pixels are 0, ignored.

Sources: Kikaki et al. 2024 (ISPRS JPRS 210); pangaea/datasets/mados.py and
configs/dataset/mados.yaml of pangaea-bench (copy of sig-gis), whose band means of 0.02 to 0.06
confirm the scale; ACOLITE's band names as read by public code for both satellites.
"""

import re
from functools import partial
from pathlib import Path

import numpy as np

from gairlib.bands import BANDS
from gairlib.errors import BadInput
from research.tasks.published.folders import matching
from research.tasks.published.pictures import SPLITS, Picture, as_dn, assemble, codes, raster
from research.tasks.segmentation.data import IGNORE, SegmentationData

CLASSES = (
    "Marine Debris",
    "Dense Sargassum",
    "Sparse Floating Algae",
    "Natural Organic Material",
    "Ship",
    "Oil Spill",
    "Marine Water",
    "Sediment-Laden Water",
    "Foam",
    "Turbid Water",
    "Shallow Water",
    "Waves & Wakes",
    "Oil Platform",
    "Jellyfish",
    "Sea snot",
)
CODES = {0: IGNORE, **{code: code - 1 for code in range(1, len(CLASSES) + 1)}}
CENTRES = (492, 560, 665, 704, 740, 783, 833, 865, 1614, 2202)  # nm, Sentinel-2A, in BANDS' order
TOLERANCE = 16  # nm: 2186 of Sentinel-2B is 16 from 2202; 842 and 865 stay apart
BAND_NAME = re.compile(r"_rhorc_(\d+)_")
CROP = re.compile(r"(?P<scene>Scene_\d+)_(?P<crop>\d+)$")


def _files(scene: Path, crop: str) -> list[Path]:
    """One file a band of BANDS, by wavelength."""
    known = {
        int(BAND_NAME.search(p.name)[1]): p
        for p in matching(scene, f"*_L2R_rhorc_*_{crop}.tif")
        if BAND_NAME.search(p.name)
    }
    found = []
    for band, centre in zip(BANDS, CENTRES):
        near = min(known, key=lambda nm: abs(nm - centre), default=None)
        if near is None or abs(near - centre) > TOLERANCE:
            raise BadInput(
                f"{scene}: crop {crop} has no file *_L2R_rhorc_{centre}_{crop}.tif ({band})"
            )
        found.append(known[near])
    return found


def _image(scene: Path, crop: str) -> np.ndarray:
    parts = [raster(path, 1)[0] for path in _files(scene, crop)]
    side = parts[0].shape  # B02 is a 10-m band
    for i, part in enumerate(parts):
        factor = side[0] // part.shape[0]
        parts[i] = part.repeat(factor, 0).repeat(factor, 1)
        if parts[i].shape != side:
            raise BadInput(
                f"{scene}: crop {crop}, {BANDS[i]} has {part.shape[1]} x "
                f"{part.shape[0]} px, which do not divide {side[1]} x {side[0]}"
            )
    return as_dn(np.stack(parts), 10_000)


def _rows(table: Path) -> list[Picture]:
    if not table.is_file():
        raise BadInput(f"{table}: this split file of the published layout is not there")
    found = []
    for number, line in enumerate(table.read_text(encoding="utf-8").split(), 1):
        match = CROP.match(line)
        if not match:
            raise BadInput(f"{table} line {number}: {line!r} is not Scene_<n>_<crop>")
        scene = table.parents[1] / match["scene"]
        mask = scene / "10" / f"{match['scene']}_L2R_cl_{match['crop']}.tif"
        if not mask.is_file():
            raise BadInput(f"{table} line {number}: {mask} is not there")
        _files(scene, match["crop"])  # a band that is missing is told before training
        found.append(
            Picture(
                line,
                match["scene"],
                mask,
                partial(_image, scene, match["crop"]),
                partial(codes, mask, CODES),
            )
        )
    return found


def load(folder: Path, size: int) -> SegmentationData:
    """The published splits in chips of `size` px. Raises BadInput for another layout."""
    root = folder / "MADOS" if (folder / "MADOS").is_dir() else folder
    splits = {split: _rows(root / "splits" / f"{split}_X.txt") for split in SPLITS}
    return assemble(
        "pangaea-mados",
        splits,
        CLASSES,
        size=size,
        bands=BANDS,
        cluster="scene",
        where=root / "splits",
        notes=["Rayleigh-corrected reflectance, neither L1C nor L2A"],
    )

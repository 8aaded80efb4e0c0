"""HLS Burn Scars: burnt land in 512-px chips of Harmonized Landsat Sentinel-2 (S30), 30 m a pixel.

    pangaea/hlsburnscars/training/subsetted_512x512_HLS.S30.<tile>.<date>.v1.4_merged.tif
    pangaea/hlsburnscars/training/subsetted_512x512_HLS.S30.<tile>.<date>.v1.4.mask.tif
    pangaea/hlsburnscars/validation/...

Six bands, B02 B03 B04 B8A B11 B12, as reflectance in 0..1 with 9999 where there is none; masks are
1 burn scar, 0 not burned, -1 missing. Ours is reflectance x 10000; the four bands that HLS files
lack hold the training mean. A pixel is 30 m wide, three times what the encoder was trained on.

The published split has a training and a validation part. PANGAEA tests on the validation part and
takes a tenth of the training part for validation, `train_test_split(arange(n), test_size=0.1,
random_state=23)` of scikit-learn on the sorted names: done here the same way, so the parts agree
as long as scikit-learn shuffles as it does.

Sources: the data set's card (ibm-nasa-geospatial/hls_burn_scars on the Hugging Face hub, as quoted
in PurdueRCAC/DatasetDocs docs/geoai/hls_burn_scars.rst); pangaea/datasets/hlsburnscars.py and
configs/dataset/hlsburnscars.yaml of pangaea-bench (copy of sig-gis), whose band means of 0.03 to
0.23 confirm the scale.
"""

import re
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.model_selection import train_test_split

from gairlib.errors import BadInput
from research.tasks.published.folders import matching
from research.tasks.published.pictures import Picture, as_dn, assemble, codes, raster
from research.tasks.segmentation.data import IGNORE, SegmentationData

CLASSES = ("Not burned", "Burn scar")
CODES = {-1: IGNORE, 0: 0, 1: 1}
PRESENT = ("B02", "B03", "B04", "B8A", "B11", "B12")
MISSING = 9999.0
BRIGHTEST = 3.0  # reflectance: clouds and fire reach 2; a larger value is another scale
NAME = re.compile(r"(?P<stem>.*HLS\.S30\.(?P<tile>T\w{5})\..*)_merged\.tif$")


def _image(path: Path) -> np.ndarray:
    values = raster(path, len(PRESENT)).astype(np.float32)
    absent = values == MISSING
    high = values[~absent].max(initial=0.0)
    if high > BRIGHTEST:
        raise BadInput(
            f"{path}: values up to {high:g}; the published files hold reflectance in "
            f"0..1 (and {MISSING:g} where there is none)"
        )
    values[absent] = np.nan
    return as_dn(values, 10_000)


def _part(folder: Path) -> list[Picture]:
    """Pictures of one part in the order of their names."""
    images = matching(folder, "*merged.tif", deep=False)
    if not images:
        raise BadInput(f"{folder}: no *_merged.tif, as the published layout has them")
    found = []
    for path in images:
        match = NAME.match(path.name)
        if not match:
            raise BadInput(
                f"{path}: published names are subsetted_512x512_HLS.S30.<tile>.<date>."
                "v1.4_merged.tif"
            )
        mask = path.with_name(f"{match['stem']}.mask.tif")
        if not mask.is_file():
            raise BadInput(f"{mask}: the mask of {path.name} is not there")
        found.append(
            Picture(
                path.stem, match["tile"], mask, partial(_image, path), partial(codes, mask, CODES)
            )
        )
    return found


def load(folder: Path, size: int) -> SegmentationData:
    """PANGAEA's splits in chips of `size` px. Raises BadInput for another layout."""
    both, test = _part(folder / "training"), _part(folder / "validation")
    if len(both) < 2:
        raise BadInput(f"{folder / 'training'}: one image cannot be split into train and val")
    train, val = train_test_split(np.arange(len(both)), test_size=0.1, random_state=23)
    splits = {"train": [both[i] for i in train], "val": [both[i] for i in val], "test": test}
    return assemble(
        "pangaea-hlsburnscars",
        splits,
        CLASSES,
        size=size,
        bands=PRESENT,
        cluster="MGRS tile",
        where=folder,
        notes=[
            "B05 B06 B07 B08 are not in HLS chips and hold the training mean",
            "30 m a pixel, the encoder was trained on 10 m",
        ],
    )

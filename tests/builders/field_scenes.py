"""A Sentinel-2-like scene for tests of fields and maps."""

import numpy as np
from builders import small_files
from rasterio.transform import from_origin

from gairlib.data import scenes

UTM = ("EPSG:32654", from_origin(676_000, 3_990_000, 10, 10))  # 141.0 E: 2 degrees off the meridian


def write_scene(path, values=None, crs=UTM[0], transform=UTM[1], size=(80, 96), **options):
    """A 10-band uint16 scene of `size` (height, width); random unless values are given."""
    if values is None:
        values = np.random.default_rng(0).integers(200, 4000, (10, *size))
    small_files.write_scene(path, values.astype(np.uint16), crs=crs, transform=transform, **options)
    return scenes.open_scene(path, row={"processing_baseline": "02.14"})

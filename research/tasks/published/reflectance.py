"""From the numbers of a published file to digital numbers, reflectance x 10000."""

import numpy as np


def as_dn(values: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Digital numbers float32 in 0..65535 from values x scale; NaN becomes 0 (nodata).

    A negative reflectance, as atmospheric correction leaves over dark water, becomes 1 and not
    0, which would say that there are no data.
    """
    dn = np.asarray(values, np.float32) * np.float32(scale)
    low = np.where(dn < 0, np.float32(1), dn)
    return np.nan_to_num(low, nan=0.0).clip(0, 65535)

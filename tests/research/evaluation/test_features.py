"""Plain statistics of pixels against loops."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from research.evaluation import features


def test_colour_statistics_and_thumbnails_equal_a_loop():
    x = np.random.default_rng(0).integers(0, 255, (300, 3, 8, 8)).astype(np.uint8)
    stats, small = features.colour_statistics(x), features.thumbnails(x, 2)
    for i in (0, 255, 256, 299):  # either side of a chunk's end
        flat = x[i].reshape(3, -1).astype(float)
        want = [flat.mean(1), flat.std(1), *np.quantile(flat, features.QUANTILES, axis=1)]
        np.testing.assert_allclose(stats[i], np.concatenate(want), rtol=1e-4)
        want = x[i].reshape(3, 2, 4, 2, 4).astype(float).mean((2, 4))
        np.testing.assert_allclose(small[i], want.ravel(), rtol=1e-5)


@given(seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_local_statistics_equal_a_loop_over_windows(seed):
    rng = np.random.default_rng(seed)
    chips = rng.integers(0, 9000, (3, 4, 12, 12)).astype(np.uint16)
    chip_of, xy = rng.integers(0, 3, 9), rng.uniform(-1, 1, (9, 2))
    xy[0], xy[1] = [-1, -1], [1, 1]  # corners: windows are cut off
    got = features.local_statistics(chips, chip_of, xy, radii=(1, 4))
    for i, (c, (x, y)) in enumerate(zip(chip_of, xy)):
        column, row = (min(int((v + 1) / 2 * 12), 11) for v in (x, y))
        want = []
        for r in (1, 4):
            window = chips[c, :, max(row - r, 0) : row + r + 1, max(column - r, 0) : column + r + 1]
            want += [window.mean((1, 2)), window.std((1, 2))]
        np.testing.assert_allclose(got[i], np.concatenate(want), rtol=1e-4, atol=0.05)

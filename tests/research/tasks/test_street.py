"""Labels of photos, and the same from above."""

import numpy as np
from builders.small_run import small_pairs

from gairlib import GAIR, GAIRConfig
from gairlib.embed import encode
from research.tasks.street import StreetFromAbove
from research.tasks.task import Options


def test_street_labels_are_read_at_the_photos_position(tiny, tmp_path):
    """The tiny world is green in the west: the local read knows, the chip's mean does not."""
    dataset = small_pairs(tiny, tmp_path, max_photos=6)
    data = StreetFromAbove("green_view").load(dataset, Options(pairs=tmp_path))
    at = data.inputs
    assert len(at) == len(data.labels) == 36 and at[0].shape == (10, 32, 32)
    model = GAIR(GAIRConfig(rs_size=32, rs_patch=8, rs_depth=1))
    local = encode.local(model, at.chips, at.chip, at.xy)
    chip = encode.local(model, at.chips, at.chip, at.xy, mode="mean")
    for c in np.unique(at.chip):
        rows = at.chip == c
        assert np.allclose(chip[rows], chip[rows][0], atol=1e-5)
    assert np.ptp(local[at.chip == at.chip[0]], axis=0).max() > 1e-4 or (
        (at.chip == at.chip[0]).sum() == 1
    )

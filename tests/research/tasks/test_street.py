"""Labels of photos, and the same from above."""

import numpy as np
from builders.small_models import SMALL
from builders.small_run import small_pairs

from gairlib import GAIR, GAIRConfig
from gairlib.embed import encode
from research.evaluation.table import RANDOM_SHARED, SHARED, UPPER_BOUNDS
from research.tasks.labels import label_columns
from research.tasks.street import Street, StreetFromAbove
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


def test_the_labels_that_a_network_learns_together_are_those_of_the_photos(tiny, tmp_path):
    """No column of the pairing is among them; the task's own comes first."""
    dataset = small_pairs(tiny, tmp_path, max_photos=6)
    table = dataset.street()
    for task in (Street("green_view"), StreetFromAbove("green_view")):
        data = task.load(dataset, Options(pairs=tmp_path))
        assert next(iter(data.columns)) == "green_view"
        assert set(data.columns) == set(label_columns(table))
        np.testing.assert_array_equal(data.columns["green_view"], data.labels)
        assert all(len(values) == len(data.labels) for values in data.columns.values())


def test_towers_trained_end_to_end_stand_in_the_table_of_chips_as_upper_bounds(tiny, tmp_path):
    dataset = small_pairs(tiny, tmp_path, max_photos=6)
    GAIR(SMALL).save_pretrained(tmp_path / "model")
    options = Options(
        tmp_path / "model", tmp_path, seeds=1, bootstrap=20, upper_bounds=UPPER_BOUNDS
    )
    result = StreetFromAbove("green_view").run(dataset, options)
    rows = result.rows[(result.rows.metric == "R2") & (result.rows.seed == "mean")]
    bounds = rows[rows.encoder.isin(UPPER_BOUNDS)]
    assert set(bounds.encoder) == set(UPPER_BOUNDS)
    assert bounds.training.str.match(r"^[\d, ]+ steps").all()
    assert (rows[~rows.encoder.isin(UPPER_BOUNDS)].training == "").all()
    assert "random rows" not in set(bounds.split)  # places are held out, or it says nothing
    assert {SHARED, RANDOM_SHARED} <= set(rows.encoder)
    assert result.headline["best_baseline"] not in UPPER_BOUNDS
    assert not {loss["baseline"] for loss in result.losses()} & set(UPPER_BOUNDS)
    assert len(result.fits) == len(bounds)
    assert sum("trained end to end" in note for note in result.notes) == len(bounds)

"""A location table from end to end: rows, differences, and the choice by inner folds alone."""

import numpy as np
import pandas as pd
import pytest

from gairlib.errors import BadInput, Missing
from gairlib.location import registry
from research.evaluation import splits
from research.evaluation.location_training import Settings
from research.evaluation.neighbours import NEAREST
from research.evaluation.table import ROW_COLUMNS
from research.tasks import trained

QUICK = Settings(dim=8, folds=2, steps=10, batch=64, check_every=5, lr=1e-2)


def table(n=150, seed=0):
    rng = np.random.default_rng(seed)
    lonlat = np.stack([rng.uniform(-180, 180, n), rng.uniform(-70, 70, n)], 1)
    return lonlat, np.cos(np.deg2rad(lonlat[:, 1])) + 0.1 * rng.normal(size=n)


@pytest.mark.parametrize("text", [False, True])
def test_rows_and_differences_of_one_table(text):
    lonlat, y = table()
    y = np.where(y > 0.8, "warm", "cold") if text else y
    rows, gaps = trained.run(
        "location-t-y",
        lonlat,
        y,
        degrees=[None, 20.0],
        encoders=["xyz", "wrap"],
        draws=50,
        settings=QUICK,
    )
    assert list(rows.columns) == ROW_COLUMNS
    assert set(rows["split"]) == {"random", "20° blocks"}
    assert {"xyz", "wrap", NEAREST, trained.CHOSEN} <= set(rows["encoder"])
    assert (rows["n"] == 150).all() and rows["value"].notna().all()
    metric = "accuracy" if text else "R2"
    assert set(rows["metric"]) == {metric} == set(gaps["metric"])
    value = rows.set_index(["split", "encoder"])["value"]
    for g in gaps.itertuples():
        assert g.difference == pytest.approx(value[g.split, g.encoder] - value[g.split, NEAREST])
        assert g.low <= g.difference <= g.high
    assert set(gaps["encoder"]) == {"xyz", "wrap", trained.CHOSEN}


def test_the_chosen_encoder_answers_with_the_guesses_of_the_fold_s_choice():
    lonlat, y = table()
    found, chosen = trained.guesses(lonlat, y, 20.0, 0, ["xyz", "wrap"], QUICK)
    folds = splits.folds(splits.blocks(lonlat, 20.0), 5, 0)
    assert len(chosen) == len(folds) == 5
    for name, (_, test) in zip(chosen, folds):
        np.testing.assert_array_equal(found[trained.CHOSEN][1][test], found[name][1][test])


def test_labels_of_the_test_rows_change_no_guess_for_them():
    lonlat, y = table()
    groups = splits.blocks(lonlat, 20.0)
    _, test = splits.folds(groups, 5, 0)[0]
    other = y.copy()
    other[test] = 99.0
    first, second = (
        trained.guesses(lonlat, v, 20.0, 0, ["xyz", "wrap"], QUICK) for v in (y, other)
    )
    assert first[1][0] == second[1][0]
    for name, (_, guess) in first[0].items():
        np.testing.assert_array_equal(guess[test], second[0][name][1][test], err_msg=name)


def test_every_encoder_of_the_registry_has_options_that_build_it():
    for name in registry.names():
        for degrees in (None, 0.5, 10.0, 20.0):
            for options in trained.options(name, degrees):
                assert registry.create(name, 8, **options)([[1.0, 2.0]]).shape == (1, 8)


def test_a_table_is_read_from_the_command_line(tmp_path, capsys):
    lonlat, y = table(60)
    path = tmp_path / "t.csv"
    frame = pd.DataFrame({"lon": lonlat[:, 0], "lat": lonlat[:, 1], "y": y})
    frame.loc[3, "y"] = np.nan
    frame.to_csv(path, index=False)
    trained.main([str(path), "y", "--degrees", "0", "--encoders", "--seeds", "1"])
    printed = capsys.readouterr().out
    assert "random" in printed and NEAREST in printed and " 59 " in printed
    assert len(trained.read(path, "y")[1]) == 59
    with pytest.raises(BadInput, match="no column z"):
        trained.read(path, "z")
    with pytest.raises(Missing, match="absent.csv"):
        trained.read(tmp_path / "absent.csv", "y")


def test_bad_input_is_refused():
    lonlat, y = table(20)
    with pytest.raises(BadInput, match="20 places, 19 targets"):
        trained.run("t", lonlat, y[:-1], encoders=[])
    with pytest.raises(BadInput, match="0 seeds"):
        trained.run("t", lonlat, y, encoders=[], seeds=0)

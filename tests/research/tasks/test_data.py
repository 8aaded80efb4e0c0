"""Splits that do not leak."""

import numpy as np
import pandas as pd

from research.tasks import data as examples


def test_held_out_keeps_the_test_rows_and_draws_training_sites_by_seed():
    sites = np.repeat([f"s{i:02d}" for i in range(22)], 3)
    split = np.where(np.isin(sites, ["s00", "s01"]), "test", "train")
    chosen = []
    for seed in range(3):
        ((train, test),) = examples.site_folds(split, sites, seed)
        assert set(sites[test]) == {"s00", "s01"} and len(test) == 6
        assert len(train) == 18 * 3 and len(set(sites[train])) == 18
        chosen.append(tuple(sorted(set(sites[train]))))
    assert len(set(chosen)) == 3
    assert chosen[0] == tuple(sorted(set(sites[examples.site_folds(split, sites, 0)[0][0]])))


def test_few_labels_are_a_hundred_rows_of_training_sites(tmp_path):
    split = np.array(["train"] * 300 + ["test"] * 50)
    sites = np.array([f"s{i % 12}" for i in range(300)] + ["t"] * 50)
    rows, few, full = examples.site_schemes(pd.Series(split), sites)
    ((train, test),) = few.folds(0)
    ((everything, _),) = full.folds(0)
    assert len(train) == examples.FEW and len(test) == 50
    assert set(train) <= set(everything) and not set(train) & set(test)
    assert set(few.folds(0)[0][0]) != set(few.folds(1)[0][0])
    # beside them a split over rows, whose test rows have neighbours in training
    assert [s.name for s in (rows, full)] == ["random rows", "held-out sites"]
    ((train, test),) = rows.folds(0)
    assert len(test) == 50 and not set(train) & set(test)
    assert set(sites[test]) & set(sites[train]) and len(set(test) & set(range(300))) > 25
    np.testing.assert_array_equal(test, rows.folds(1)[0][1])  # the same for all seeds
    assert set(train) != set(rows.folds(1)[0][0])


def test_shifted_rows_are_trained_on_nowhere_and_asked_by_the_strictest_scheme():
    split = np.array(["train"] * 200 + ["val"] * 20 + ["test"] * 50 + ["shifted"] * 30)
    sites = np.array([f"s{i % 12}" for i in range(220)] + ["t"] * 50 + ["u"] * 30)
    schemes = examples.site_schemes(pd.Series(split), sites)
    for scheme in schemes:
        for seed in range(3):
            ((train, test),) = scheme.folds(seed)
            assert not set(range(270, 300)) & {*train, *test}
    rows, few, full = schemes
    assert rows.shifted is None and few.shifted is None and rows.shifted_split is None
    assert list(full.shifted) == list(range(270, 300))
    found = full.shifted_split
    assert found.name == "shifted sites" and found.shifted and found.held_out == "site"
    # without such rows everything is as it was
    assert examples.site_schemes(pd.Series(split[:270]), sites[:270])[-1].shifted is None

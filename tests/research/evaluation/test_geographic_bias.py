"""Errors by region against a planted table."""

import numpy as np

from research.evaluation import geographic_bias


def test_errors_by_region_are_those_of_a_planted_table():
    truth, regions = np.arange(20.0), np.repeat(["a", "b", "c"], [10, 8, 2])
    guess = truth + np.where(regions == "b", 3.0, 1.0)
    found = geographic_bias.by_region("s", "gair", truth, guess, regions, np.zeros((20, 2)))
    assert found["region"].tolist() == ["a", "b"] and found["n"].tolist() == [10, 8]
    assert found["error"].tolist() == [1.0, 3.0]  # c has two rows only
    (row,) = geographic_bias.summary(found).to_dict("records")
    assert (row["median"], row["worst_tenth"], row["worst_over_median"]) == (2.0, 3.0, 1.5)
    texts = geographic_bias.by_region(
        "s", "e", np.array(["x"] * 6), np.array(["x", "y"] * 3), np.array(["r"] * 6)
    )
    assert texts["error"].tolist() == [0.5] and texts["lon"].isna().all()
    assert geographic_bias.sentences(found, "s") == []

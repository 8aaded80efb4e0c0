"""Rows and paired comparisons from planted scores."""

import numpy as np
import pytest

from gairlib.errors import BadInput
from research.evaluation import stats
from research.evaluation.table import Table


def planted():
    """gair right in 8 of 10 rows (7 to 9 a site), "random init" in 5, "majority" in all."""
    table = Table("t", "rs", "site", "d", True)
    codes, clusters = stats.encode_clusters(np.repeat(np.arange(8), 10))
    for name, right in (("gair", 8), ("random init", 5), ("majority", 10)):
        for _ in range(2):
            spread = np.tile([-1, 1], 4) if name == "gair" else np.zeros(8)
            hits = (np.arange(10) < (right + spread)[:, None]).ravel()
            table.add(
                "s", name, "accuracy", stats.mean(hits, codes), probe="p", n=80, clusters=clusters
            )
    return table


def test_rows_and_comparisons_follow_from_planted_scores():
    table = planted()
    rows = table.rows(100)
    assert rows[rows.encoder == "gair"].seed.tolist() == ["mean", "0", "1"]
    assert (rows[rows.encoder == "gair"].value == 0.8).all()
    c = table.comparison(100).set_index("baseline")
    assert c.difference["random init"] == pytest.approx(0.3)
    assert c.verdict.to_dict() == {"random init": "wins", "majority": "loses"}
    with pytest.raises(BadInput, match="answers for 3 sites"):
        table.add(
            "s",
            "other",
            "accuracy",
            stats.mean(np.ones(3), np.arange(3)),
            probe="p",
            n=3,
            clusters=3,
        )


def test_lower_is_better_for_errors_and_ranks():
    table = Table("t", "rs", "site", "d", True)
    for name, metres in (("gair", [99.0, 100, 100, 100, 100, 101]), ("random init", [200.0] * 6)):
        table.add(
            "s",
            name,
            "localisation error",
            stats.mean(np.array(metres), np.arange(6)),
            probe="p",
            n=6,
            clusters=6,
        )
    (row,) = table.comparison(50).to_dict("records")
    assert row["difference"] == -100 and row["better"] == "lower" and row["verdict"] == "wins"


def test_a_class_in_few_sites_gets_no_interval():
    table = Table("t", "rs", "site", "d", True)
    truth, codes = np.array(["a", "a", "b"] + ["a"] * 9), np.arange(12)
    score = stats.balanced_accuracy(truth, truth, codes)
    table.add(
        "s",
        "gair",
        "balanced accuracy",
        score,
        probe="p",
        n=12,
        clusters=12,
        independent=stats.class_clusters(truth, codes),
    )
    assert table.rows(50)["value"][0] == 1 and table.rows(50)["low"].isna().all()


def test_a_baseline_of_fewer_seeds_is_compared_on_those():
    table = Table("t", "rs", "site", "d", True)
    for seed in range(3):
        codes = np.repeat(np.arange(8), 5)
        add = dict(n=40, clusters=8)
        table.add(
            "s", "gair", "accuracy", stats.mean(np.full(40, 0.1 * seed), codes), probe="p", **add
        )
        if seed < 1:
            table.add(
                "s", "dear", "accuracy", stats.mean(np.full(40, 0.5), codes), probe="q", **add
            )
    row = table.comparison(20).iloc[0]
    assert row.difference == pytest.approx(-0.5) and row.seeds == 1  # not minus 0.4, of all three

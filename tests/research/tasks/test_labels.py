"""Labels that are labels, and classes that a split lacks."""

import numpy as np
import pandas as pd
import pytest

from gairlib.errors import BadInput
from research.tasks import labels as columns


@pytest.mark.parametrize(
    "values, kind, why",
    [
        (np.linspace(0, 1, 30), "regression", ""),
        (["a"] * 25 + ["b"] * 25, "classification", ""),
        ([True, False] * 25, "classification", ""),
        ([1.0] * 30, "", "equal"),
        ([1.0] * 10, "", "fewer than 20"),
        (["a"] * 30, "", "two classes"),
        ([f"https://x/{i}" for i in range(60)] + ["a"] * 20 + ["b"] * 20, "", "no classes"),
    ],
)
def test_label_kinds(values, kind, why):
    found, reason = columns.label_kind(pd.Series(values))
    assert found == kind and why in reason and bool(kind) != bool(reason)


def test_one_text_among_numbers_is_named(folder):
    values = pd.Series([*map(str, range(40)), "n/a"])
    kind, why = columns.label_kind(values)
    assert kind == "" and "row 40 holds 'n/a'" in why
    assert columns.label_kind(values[:40])[1]  # texts all the same: numbers come as numbers


def test_infinite_labels_are_left_out_and_counted():
    notes = []
    table = pd.DataFrame({"x": [1.0, np.inf, 2.0, np.nan]})
    rows, labels = columns.labelled(table, "x", "regression", "rows", notes)
    assert labels.tolist() == [1.0, 2.0] and len(rows) == 2 and notes[0].startswith("1 rows")


@pytest.mark.parametrize("part, labels", [("test", "aaabbbaaa"), ("training", "aaaaaabba")])
def test_a_class_that_a_split_lacks_is_an_error_that_names_it(part, labels):
    split = pd.Series(["train"] * 6 + ["test"] * 3)
    with pytest.raises(BadInput, match=f"street.csv.*class 'b' has no {part} rows"):
        columns.check_split(np.array(list(labels)), split, "street.csv, column `x`")
    columns.check_split(np.array(list("aabbabaab")), split, "street.csv")
    columns.check_split(np.array(list(labels)), None, "street.csv")

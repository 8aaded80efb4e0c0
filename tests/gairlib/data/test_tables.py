"""Columns of tables: numbers and paths, judged row by row."""

import numpy as np
import pandas as pd
import pytest

from gairlib.data import tables


def test_numbers_do_not_depend_on_their_company():
    rng = np.random.default_rng(0)
    texts = pd.Series([repr(float(v)) for v in rng.uniform(-180, 180, 500)], dtype="str")
    alone = tables.numbers(texts)
    odd = ["east", " 12.5 ", "+3", "1_000", None, "0x10", "1e3", "-.5", "7."]
    odd = pd.Series(odd, dtype="str")
    mixed = tables.numbers(pd.concat([texts, odd], ignore_index=True))
    assert (alone == texts.map(float)).all() and (mixed[:500] == alone).all()
    np.testing.assert_array_equal(mixed[500:], [np.nan, 12.5, 3, *[np.nan] * 3, 1000, -0.5, 7])


@pytest.mark.parametrize(
    "path",
    [
        "a.jpg",
        "street/a.jpg",
        "../a.jpg",
        "x/../../a.jpg",
        "x/../a.jpg",
        "/a.jpg",
        "~/a.jpg",
        "./~/a",
        "~a/b.jpg",
        "C:\\a.jpg",
        "./C:/a.jpg",
        "\\\\host\\a.jpg",
        "x\\..\\..\\a.jpg",
        "a..b/c.jpg",
        "a\0.jpg",
        "x/./../..",
        "photo:1.jpg",
        "ab:c.jpg",
        ".hidden/a.jpg",
        "..",
        ".",
    ],
)
def test_many_paths_are_judged_as_one_is(path):
    many = tables.path_reasons(pd.Series(["ok.jpg", path, None], dtype="str"))
    assert many[0] is None and many[2] is None and many[1] == tables.path_reason(path)

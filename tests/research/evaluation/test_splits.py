"""Splits: cells against an oracle in whole degrees, folds that cannot tear a group, balance."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gairlib.errors import BadInput
from research.evaluation import splits


@given(
    column=st.integers(0, 719),
    row=st.integers(0, 359),
    turns=st.integers(-2, 2),
    degrees=st.sampled_from([0.5, 2.0, 10.0, 20.0, 40.0]),
)
@settings(max_examples=60, deadline=None)
def test_blocks_equal_whole_number_arithmetic_modulo_360(column, row, turns, degrees):
    # the middle of a cell of half a degree, so that no edge is met
    place = [[-180 + (column + 0.5) / 2 + 360 * turns, -90 + (row + 0.5) / 2]]
    size = int(2 * degrees)
    assert splits.blocks(place, degrees)[0] == f"{column // size}_{row // size}"


@pytest.mark.parametrize("degrees", [0.5, 2.0, 10.0, 20.0, 40.0])
def test_both_poles_are_one_place_in_the_row_that_touches_them(degrees):
    for pole, beside in ((90.0, 90 - degrees / 2), (-90.0, -90 + degrees / 2)):
        at_pole = splits.blocks([[lon, pole] for lon in (-180, -77, 0, 33, 180)], degrees)
        assert len(set(at_pole)) == 1
        assert at_pole[0] == splits.blocks([[-180 + degrees / 2, beside]], degrees)[0]


def test_the_antimeridian_is_a_common_edge():
    west, east, same = splits.blocks([[-180, 5], [180, 5], [540, 5]], 10.0)
    assert west == east == same
    assert splits.blocks([[179.9, 5]], 10.0)[0] != west
    just_below = np.nextafter(-180.0, -200.0)  # + 180 modulo 360 rounds up to 360
    assert splits.blocks([[just_below, 5]], 10.0)[0] in ("35_9", "0_9")


@given(
    groups=st.lists(st.integers(0, 12), min_size=5, max_size=60).filter(lambda g: len(set(g)) > 1),
    k=st.integers(2, 6),
    seed=st.integers(0, 50),
)
@settings(max_examples=60, deadline=None)
def test_every_row_is_tested_once_groups_stay_whole_and_folds_are_balanced(groups, k, seed):
    groups, tested, sizes = np.array(groups), [], []
    for train, test in splits.folds(groups, k, seed):
        assert not set(groups[train]) & set(groups[test])
        assert sorted([*train, *test]) == list(range(len(groups)))
        tested += list(test)
        sizes.append(len(test))
    assert sorted(tested) == list(range(len(groups)))
    assert len(sizes) == min(k, len(set(groups)))
    assert max(sizes) - min(sizes) <= np.bincount(groups).max()


def test_seeds_give_other_folds_and_the_same_seed_the_same():
    groups = np.arange(50)
    first, again, other = (splits.fold_numbers(groups, 5, s) for s in (0, 0, 1))
    assert (first == again).all() and (first != other).any()
    assert np.bincount(first).tolist() == [10] * 5


def test_places_are_those_of_a_site_where_all_rows_name_one():
    rows = pd.DataFrame({"scene_id": ["x", "x", "y"], "site": ["a", "b", "a"]})
    assert splits.sites_of(rows).tolist() == ["a", "b", "a"]
    rows.loc[1, "site"] = None
    assert splits.sites_of(rows).tolist() == ["x", "x", "y"]
    assert splits.sites_of(rows[["scene_id"]]).tolist() == ["x", "x", "y"]


@pytest.mark.parametrize("degrees", [0, -1, 7, 200, float("nan"), float("inf")])
def test_a_size_that_does_not_divide_360_is_refused(degrees):
    with pytest.raises(BadInput, match="divides 360"):
        splits.blocks([[0, 0]], degrees)


def test_bad_places_and_too_few_groups_are_refused():
    with pytest.raises(BadInput):
        splits.blocks([[0, 91]], 10)
    with pytest.raises(BadInput, match="two groups"):
        splits.folds(["a", "a"], 5, 0)
    with pytest.raises(BadInput, match="two folds"):
        splits.folds(["a", "b"], 1, 0)

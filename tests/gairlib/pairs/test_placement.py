"""Splits, boxes and buffers of chips; near-duplicates."""

import numpy as np
import pytest
from builders.small_photos import SMALL, chip_outline, random_table, table
from hypothesis import given, settings
from hypothesis import strategies as st

from gairlib.pairs import placement
from gairlib.pairs.pairing import pair
from gairlib.pairs.placement import near_duplicates


def test_buffer_between_splits(three):
    street = random_table(250, size=(128, 128))
    column, _ = three[0].to_pixels(street["lon"].to_numpy(), street["lat"].to_numpy())
    street["split"] = np.where(column < 50, "test", "train")
    pairs = pair(street, three[:1], split_buffer_m=150.0, **SMALL)
    shapes = [chip_outline(pairs.chips, i) for i in range(pairs.chips.sizes["chip"])]
    split = pairs.chips["split"].values
    gaps = [
        a.distance(b)
        for a, s in zip(shapes, split)
        for b, t in zip(shapes, split)
        if s == "test" and t == "train"
    ]
    assert 150.0 <= min(gaps) < 250.0


def test_photos_on_one_spot_in_one_direction_are_found(three):
    street = table([30, 30.05, 30, 30, 60], [30] * 5, heading=[10.0, 4.0, 60.0, np.nan, 10.0])
    kept = pair(street, three[:1], **SMALL)
    assert kept.report["near_duplicates"] == 1 and kept.report["paired"] == 5
    manifest = kept.manifest.set_index("photo_id")
    assert manifest["near_duplicate_of"].dropna().to_dict() == {"p001": "p000"}
    dropped = pair(street, three[:1], near_duplicates="drop", **SMALL)
    assert dropped.report["rejected"] == {"near-duplicate of another photo, dropped by option": 1}


def test_near_duplicates_against_trying_every_pair():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 25, (2, 200))
    heading = np.where(rng.random(200) < 0.2, np.nan, rng.integers(0, 8, 200) * 6.0)
    found = near_duplicates(x, y, heading)
    standing = []
    for k in range(200):
        alike = [
            i
            for i in standing
            if np.hypot(x[i] - x[k], y[i] - y[k]) <= 2
            and (
                abs((heading[i] - heading[k] + 180) % 360 - 180) <= 10
                or (np.isnan(heading[i]) and np.isnan(heading[k]))
            )
        ]
        assert found[k] == (alike[0] if alike else -1)
        standing += [] if alike else [k]
    assert (found >= 0).any()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(-180, 180), st.floats(-85, 85)), min_size=1, max_size=40))
def test_blocks_split_alike_and_whatever_else_is_there(points):
    lon, lat = np.array(points).T
    split = placement.split_by_block(lon, lat, 0.5, seed=3)
    assert set(split) <= set(placement.SPLITS)
    for i in range(len(points)):
        alone = placement.split_by_block(lon[i : i + 1], lat[i : i + 1], 0.5, seed=3)
        assert alone[0] == split[i]
        same = (np.floor(lon / 0.5) == np.floor(lon[i] / 0.5)) & (
            np.floor(lat / 0.5) == np.floor(lat[i] / 0.5)
        )
        assert len(set(split[same])) == 1


def test_block_shares():
    lon, lat = np.meshgrid(np.arange(0, 10, 0.1) + 0.05, np.arange(0, 10, 0.1) + 0.05)
    split = placement.split_by_block(lon.ravel(), lat.ravel(), 0.1, seed=0)
    for name, share in zip(placement.SPLITS, placement.SHARES):
        assert (split == name).mean() == pytest.approx(share, abs=0.02)


def test_overlap_of_boxes_goes_round_the_antimeridian():
    others = np.array([[179.9, 0.2, 10.0, 11.0]])
    assert placement.overlaps((-179.9, 0.1, 10.5, 10.6), others)
    assert not placement.overlaps((-179.5, 0.1, 10.5, 10.6), others)
    assert not placement.overlaps((179.9, 0.1, 11.0, 12.0), others)  # a shared edge is no overlap

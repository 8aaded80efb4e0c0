"""A scene's baseline offset, by order of trust."""

import numpy as np
import pytest

from gairlib.data import scene_metadata
from gairlib.errors import BadInput


def sample_of(low):
    return np.full((10, 50), low, float)


@pytest.mark.parametrize(
    "item, tags, declared, layout, low, expected",
    [
        ({"s2:processing_baseline": "05.09"}, {}, None, "named", 100, (1000, "stac")),
        ({"s2:processing_baseline": "03.01"}, {}, "05.00", "named", 2000, (0, "stac")),
        (
            {"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": True},
            {},
            None,
            "named",
            2000,
            (0, "stac (offset already removed)"),
        ),
        ({}, {"PROCESSING_BASELINE": "05.11"}, "02.00", "named", 100, (1000, "tags")),
        (
            {},
            {"PROCESSING_BASELINE": "05.11", "LICENSE": "x/COPERNICUS_S2_SR_HARMONIZED#terms"},
            None,
            "named",
            100,
            (0, "tags (harmonised collection)"),
        ),
        ({}, {}, "04.00", "l2a-12", 100, (1000, "scenes.csv")),
        ({}, {}, "N0301", "l2a-12", 2000, (0, "scenes.csv")),
        ({}, {}, None, "eurosat-ms", 2000, (0, "layout")),
        ({}, {}, None, "l2a-12", 950, (1000, "guessed from pixels")),
        ({}, {}, None, "l2a-12", 600, (0, "guessed from pixels")),
        ({}, {}, None, "l2a-12", 0, (0, "guessed from pixels")),
    ],
)
def test_offset_by_order_of_trust(item, tags, declared, layout, low, expected):
    item = {"properties": item}
    assert scene_metadata.offset(item, tags, declared, layout, sample_of(low)) == expected


@pytest.mark.parametrize(
    "text, number",
    [
        ("05.09", 5.09),
        ("N0509", 5.09),
        ("4.00", 4.0),
        (3.01, 3.01),
        ("5", 5.0),
        ("0400", 4.0),
        (4.0, 4.0),
    ],
)
def test_baseline_number(text, number):
    assert scene_metadata.baseline_number(text) == pytest.approx(number)


def test_bad_baseline_is_named():
    with pytest.raises(BadInput, match="'new'"):
        scene_metadata.baseline_number("new")

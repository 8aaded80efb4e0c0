"""Numbers in words: three digits, intervals, units."""

import pytest

from research.reports.words import number, quantity


@pytest.mark.parametrize(
    "value, text",
    [
        (0.5234, "0.523"),
        (1234.5, "1,234"),
        (12, "12"),
        (5e-5, "0.0001"),
        (float("nan"), ""),
        (None, ""),
        (-0.018, "-0.018"),
        ("x", "x"),
        (150000, "150,000"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


def test_a_metric_has_its_interval_and_its_unit():
    numbers = {"error_m": 164.2, "error_low_m": 120.1, "error_high_m": 200.4, "photos": 12}
    assert str(quantity("error_m", numbers)) == "164 [120, 200] m"
    assert str(quantity("photos", numbers)) == "12"
    shares = {"val_recall_at_1": 0.142, "val_recall_at_1_low": 0.1, "val_recall_at_1_high": 0.2}
    assert str(quantity("val_recall_at_1", shares)) == "14.2% [10.0%, 20.0%]"

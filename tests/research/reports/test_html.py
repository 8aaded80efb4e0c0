"""What the templates are filled with, and the style sheet."""

import re
from dataclasses import replace
from importlib import resources

import numpy as np
import pandas as pd
import pytest
from jinja2 import UndefinedError

from research.reports import html
from research.reports.gather import TaskRecord
from research.reports.lines import Against, Line
from research.tasks.result import Split

LINE = Line(
    TaskRecord("sv-x", "benchmark@sv-x", "60-sv-x"),
    Split("held-out sites", "site"),
    "sv",
    "R2",
    "",
    0.52,
    0.4,
    0.6,
    48,
    10,
    "site",
    "real",
    random=Against("random init", 0.2),
    blind=Against("mean", -0.01),
    best=Against("colour", 0.45),
)
NAN = float("nan")


def test_strip_keeps_inside_its_box():
    alone = replace(LINE, value=0.0, low=NAN, high=NAN, random=None, blind=None, best=None)
    for line in (LINE, replace(LINE, value=5.0, low=NAN), replace(LINE, value=-3.0), alone):
        drawn = html.strip(line)
        assert all(0 <= x <= drawn.WIDTH for x in drawn.x.values())
    assert set(html.strip(alone).x) == {"value"}


def test_a_strip_says_its_numbers():
    said = "GAIR 0.52 [0.4, 0.6], untrained 0.2, best baseline 0.45, chance -0.01"
    assert html.strip(LINE).label == said


def test_a_frame_has_three_digits_and_no_nan_and_ends():
    found = html.frame(pd.DataFrame({"a": [1.23456, NAN], "b": ["<x>", None]}))
    assert found.heads == ["a", "b"] and found.rows == [["1.23", "<x>"], ["", ""]]
    long = html.frame(pd.DataFrame({"a": range(html.LIST + 7)}))
    assert len(long.rows) == html.LIST and long.left == 7


def test_a_template_that_lacks_a_value_is_an_error():
    with pytest.raises(UndefinedError):
        html.render("report.html")


def test_verdicts_are_legible_on_light_and_on_dark():
    """WCAG's contrast of text, 4.5, against the cards' ground."""

    def light(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return np.dot(linear, (0.2126, 0.7152, 0.0722))

    style = (resources.files("research.reports") / "templates/style.css").read_text()
    rule = re.search(r"\.loses \{ color: var\(--(\w+)\)", style).group(1)
    found = dict(light=style.split("@media")[0], dark=style.split("@media")[1])
    for scheme, css in found.items():
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]+)", css))
        card = colours["card"] if len(colours["card"]) == 7 else "#ffffff"
        for name in (rule, "real"):
            a, b = sorted((light(colours[name]), light(card)))
            assert (b + 0.05) / (a + 0.05) >= 4.5, (scheme, name)

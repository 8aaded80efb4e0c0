"""The figure style: legible, told apart by everyone, the same file for the same figure."""

import io
import warnings
from types import SimpleNamespace
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import colors
from matplotlib.figure import Figure

from research.figures import examples, style, world


def draw() -> Figure:
    with style.context():
        figure = Figure()
        figure.subplots().plot([1, 3, 2], label="a")
        return figure


def test_save_writes_both_formats_and_folders(tmp_path):
    png, svg = style.save(draw(), tmp_path / "new" / "r2-0.5")
    assert png == tmp_path / "new" / "r2-0.5.png" and png.stat().st_size > 1000
    assert svg.read_text().count("<svg") == 1 and svg.name == "r2-0.5.svg"
    assert style.save(draw(), tmp_path / "b.png")[1] == tmp_path / "b.svg"


def test_the_same_figure_gives_the_same_files(tmp_path):
    for a, b in zip(style.save(draw(), tmp_path / "a"), style.save(draw(), tmp_path / "b")):
        assert a.read_bytes() == b.read_bytes()


def test_an_empty_figure_is_drawn_without_a_warning(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        png, svg = style.save(style.empty("no scene"), tmp_path / "a")
    assert png.is_file() and svg.is_file()


def test_ids_of_an_svg_do_not_hang_on_last_bits():
    """Two clip paths, one a last bit wider: other hashes, the same figure."""
    svg = (
        '<g clip-path="url(#p{a})"><use xlink:href="#m{b}"/></g><defs><clipPath id="p{a}"/>'
        '<path id="m{b}"/></defs><text>#p{a} stays text</text>'
    )
    one = style.numbered(svg.format(a="00112233aa", b="0123456789"))
    other = style.numbered(svg.format(a="bb112233cc", b="fedcba9876"))
    assert one.replace("00112233aa", "") == other.replace("bb112233cc", "")
    assert "url(#p0-gairlib)" in one and 'id="p0-gairlib"' in one and '"#m1-gairlib"' in one


@pytest.mark.parametrize("text", ["$x^{$", r"$\frac{1}{0$", "a$b$c", "\\", "\0\x1f<&>"])
def test_texts_of_the_data_are_drawn_to_the_letter(tmp_path, text):
    """Wherever they stand, ticks included, and in a notebook too, which draws after its cell."""
    with style.context():
        figure = style.Figure()
        ax = figure.subplots()
    ax.barh([text, "b"], [1, 2], label=text)
    ax.set(title=text, xlabel=text)
    ax.text(0, 0, text), ax.annotate(text, (0, 0)), figure.suptitle(text), ax.legend()
    figure.savefig(io.BytesIO(), format="png")
    _, svg = style.save(figure, tmp_path / "a")
    shown = text.replace("\0", "").replace("\x1f", "")
    drawn = ["".join(t.itertext()) for t in ElementTree.parse(svg).findall(".//{*}text")]
    assert drawn.count(shown) == 7
    assert style.empty(text).savefig(io.BytesIO()) is None


def test_context_leaves_nothing_behind():
    before = dict(mpl.rcParams)
    with style.context():
        assert mpl.rcParams["image.interpolation"] == "nearest"
    assert dict(mpl.rcParams) == before


def test_colours_differ_in_grey_print_too():
    """Luminance of the first three: they stand apart without any hue."""
    light = [np.dot(colors.to_rgb(c), (0.2126, 0.7152, 0.0722)) for c in style.CYCLE[:3]]
    assert min(abs(a - b) for i, a in enumerate(light) for b in light[:i]) > 0.05
    assert len(set(style.CYCLE)) == len(style.CYCLE)
    for name in (style.SEQUENTIAL, style.SIMILARITY, style.MANY):
        assert name in mpl.colormaps


# Machado, Oliveira and Fernandes (2009), severity 1, of linear RGB
SEEN = {
    "normal": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


def lab(hexes, seen) -> np.ndarray:
    """CIE L*a*b* (D65) [n, 3] of sRGB colours, as someone sees them."""
    rgb = np.array([colors.to_rgb(c) for c in hexes])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.transpose(seen), 0, 1)
    xyz = linear @ np.transpose(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    xyz = xyz / (0.95047, 1, 1.08883)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


def closest(hexes, seen) -> float:
    """The least CIE 1976 difference of two of the colours."""
    at = lab(hexes, seen)
    apart = np.linalg.norm(at[:, None] - at[None], axis=2)
    return apart[~np.eye(len(at), dtype=bool)].min()


def test_the_measure_of_differences_is_cies():
    np.testing.assert_allclose(
        lab(["#ffffff", "#000000", "#ff0000"], SEEN["normal"]),
        [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20]],
        atol=0.02,
    )
    assert closest(["#ff0000", "#6d6d00"], SEEN["protan"]) < 15  # red without red cones


@pytest.mark.parametrize("seen", SEEN)
def test_colours_of_classes_are_told_apart_by_everyone(seen):
    assert closest(list(dict.fromkeys(style.LAND_COVER.values())), SEEN[seen]) >= 15
    assert closest([*style.CATEGORIES, style.GREY], SEEN[seen]) >= 15


CLASSES = (
    "water",
    "trees",
    "grass",
    "cropland",
    "bare ground",
    "paved",
    "low buildings",
    "high buildings",
    "industrial buildings",
)


def test_land_cover_has_one_palette(monkeypatch):
    """The world's map and the segmentation's tiles show the same class in the same colour."""
    palette = style.cover_colours(CLASSES)
    assert set(palette) == set(style.LAND_COVER.values())
    assert style.cover_colours(CLASSES) == palette
    assert style.cover_colours(CLASSES[::-1]) == palette[::-1]
    names = dict(enumerate(CLASSES, 1))
    cover = np.array([[*names]])
    scene = SimpleNamespace(width=9, height=1, to_pixels=lambda lon, lat: (lon, lat))
    photos = pd.DataFrame({"site": ["a"], "lon": 1.0, "lat": 0.5, "heading": 0.0})
    dataset = SimpleNamespace(
        scene=lambda site: scene,
        landcover=lambda site: (cover, names),
        street=lambda: photos,
        synthetic=True,
    )
    monkeypatch.setattr(world.scenes, "read", lambda scene: np.zeros((10, 1, 9)))
    legend = world.one_site(dataset, "a").legends[0]
    shown = {
        t.get_text(): colors.to_hex(p.get_facecolor()).upper()
        for t, p in zip(legend.get_texts(), legend.get_patches())
    }
    assert shown == dict(zip(CLASSES, palette))
    many = [f"class {i}" for i in range(40)]
    assert len(set(style.cover_colours(many))) == 40


class Labelled:
    """What `examples._places` reads of a task's data."""

    def __init__(self, labels, kind="classification", target="country"):
        self.labels, self.kind, self.target, self.name = np.asarray(labels), kind, target, "places"
        self.inputs = np.random.default_rng(0).uniform(-60, 60, (len(self.labels), 2))


@pytest.mark.parametrize("classes, entries, rest", [(3, 3, ""), (10, 10, ""), (14, 10, "5 others")])
def test_each_class_of_a_map_has_a_colour_and_a_name(classes, entries, rest):
    labels = [f"c{i:02d}" for i in range(classes) for _ in range(20 - i)]
    figure = examples._places(Labelled(labels))
    (legend,) = figure.legends
    said = [t.get_text() for t in legend.get_texts()]
    assert len(said) == entries and said[:3] == ["c00", "c01", "c02"]  # the most frequent first
    dots = figure.axes[0].collections
    assert len({tuple(d.get_facecolor()[0]) for d in dots}) == entries
    assert sum(len(d.get_offsets()) for d in dots) == len(labels)
    if rest:
        assert said[-1] == rest and colors.to_hex(dots[-1].get_facecolor()[0]) == style.GREY.lower()


@pytest.mark.parametrize(
    "column, text",
    [
        ("elevation", "elevation (m)"),
        ("mean_temperature", "mean temperature (°C)"),
        ("log_population", "log population (log10 of people)"),
        ("my_column", "my column"),
    ],
)
def test_a_colour_bar_has_the_unit_of_a_known_column(column, text):
    figure = examples._places(Labelled(np.arange(20.0), "regression", column))
    assert figure.axes[1].get_ylabel() == text


def test_true_colour_stretch_is_fixed():
    chip = np.zeros((10, 2, 2), np.uint16)
    chip[2, 0, 0], chip[1, 0, 1], chip[0, 1, 0] = 3000, 3000, 9000  # red, green, blue
    rgb = style.true_colour(chip)
    assert rgb.shape == (2, 2, 3) and rgb.dtype == np.uint8
    assert rgb[0, 0].tolist() == [255, 0, 0] and rgb[0, 1].tolist() == [0, 255, 0]
    assert rgb[1, 0].tolist() == [0, 0, 255] and rgb[1, 1].tolist() == [0, 0, 0]
    chip[2, 0, 0] = 1500
    assert style.true_colour(chip)[0, 0, 0] == round(255 * 0.5 ** (1 / 1.4))


@pytest.mark.parametrize("synthetic, word", [(True, "synthetic data"), (False, "real data")])
def test_mark_says_what_the_data_are(synthetic, word):
    assert style.mark(draw(), synthetic).texts[0].get_text() == word


def test_a_notebook_shows_a_figure_that_says_why_there_is_nothing():
    """IPython writes "<Figure size ... with 0 Axes>" for a figure without axes."""
    from IPython.core.pylabtools import print_figure

    assert print_figure(style.empty("no scene")) is not None


def test_names_that_are_too_long_for_a_figure_keep_their_ends():
    name = "S2A_MSIL2A_20220501T102031_N0510_R065_T32TMT_20220501T140000"
    assert style.shortened(name, 18) == "S2A_MSIL2…01T140000"[:9] + "…" + name[-8:]
    assert style.shortened("valdivia", 18) == "valdivia"

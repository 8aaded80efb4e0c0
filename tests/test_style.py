"""The figure style: legible, told apart by everyone, the same file for the same figure."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import colors
from matplotlib.figure import Figure

from gairlib.figures import style


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


def test_ids_of_an_svg_do_not_hang_on_last_bits():
    """Two clip paths, one a last bit wider: other hashes, the same figure."""
    svg = ('<g clip-path="url(#p{a})"><use xlink:href="#m{b}"/></g><defs><clipPath id="p{a}"/>'
           '<path id="m{b}"/></defs><text>#p{a} stays text</text>')
    one = style.numbered(svg.format(a="00112233aa", b="0123456789"))
    other = style.numbered(svg.format(a="bb112233cc", b="fedcba9876"))
    assert one.replace("00112233aa", "") == other.replace("bb112233cc", "")
    assert 'url(#p0-gairlib)' in one and 'id="p0-gairlib"' in one and '"#m1-gairlib"' in one


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
    for name in (style.SEQUENTIAL, style.SIMILARITY, style.DIVERGING, style.CATEGORICAL):
        assert name in mpl.colormaps


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

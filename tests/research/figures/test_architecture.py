"""The figure of the architecture: numbers of the configuration, no word over another."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import FancyBboxPatch

from gairlib import GAIR, GAIRConfig
from research.figures import architecture, style

SAMPLE = {
    "rs_patch": 4,
    "rs_depth": 2,
    "sv_size": 48,
    "sv_model": "resnet10t",
    "sv_options": {"channels": [32, 64, 128, 256], "stem_type": ""},
}  # params.yaml's


@pytest.mark.parametrize(
    "config",
    [
        GAIRConfig(),
        GAIRConfig(**SAMPLE),
        GAIRConfig.preset("base"),
        GAIRConfig(query_mode="bilinear", location="sphere2vec-dfs-integer"),
    ],
    ids=["small", "sample", "base", "no-field"],
)
def test_words_stand_in_their_boxes_and_apart(config, tmp_path):
    figure = architecture.draw(config, architecture.count(config))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = [t for t in figure.axes[0].texts if t.get_text()]
    spans = [(t.get_text(), t.get_window_extent(canvas.get_renderer())) for t in texts]
    for i, (a, box) in enumerate(spans):
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, a
        for b, other in spans[:i]:
            assert not box.overlaps(other), (a, b)
    boxes = [p.get_window_extent() for p in figure.axes[0].patches if isinstance(p, FancyBboxPatch)]
    for a, span in spans:
        for box in boxes:
            inside = box.x0 <= span.x0 and span.x1 <= box.x1
            assert inside or not span.overlaps(box), a
    for path in style.save(figure, tmp_path / "architecture"):
        assert path.stat().st_size > 1000


def test_numbers_are_the_models_own():
    config = GAIRConfig(**SAMPLE)
    counted = architecture.count(config)
    assert counted == {
        name: sum(p.numel() for p in part.parameters())
        for name, part in GAIR(config).named_children()
    }
    texts = [t.get_text() for t in architecture.draw(config, counted).axes[0].texts]
    assert "resnet10t" in texts and "2 blocks, 4 heads" in texts and "[N, 128]" in texts
    assert architecture.millions(counted["rs"]) in texts


def test_objectives_that_are_off_are_not_drawn():
    config = GAIRConfig()
    weights = {"INCL": 1.0, "SECL": 1.0, "FIELD": 0.0, "RS-location": 0.0}
    words = " ".join(
        t.get_text()
        for t in architecture.draw(config, architecture.count(config), weights).axes[0].texts
    )
    assert "INCL" in words and "FIELD" not in words
    assert "RS-location" in " ".join(
        t.get_text() for t in architecture.draw(config, architecture.count(config)).axes[0].texts
    )

"""The report: says what ran and what did not, for any state of the outputs, without a network."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from gairlib import GAIRConfig
from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from gairlib.embed.field import Finding
from gairlib.errors import BadInput
from gairlib.pairs import store
from gairlib.pairs.pairing import pair
from research.figures import inr, style
from research.maps import explore, similarity
from research.pipeline.offline import external_loads
from research.reports import gallery, report, report_style
from research.reports import html as report_html

ROOT = Path(__file__).resolve().parents[3]
HEAD = {
    "metric": "R2",
    "split": "held-out sites",
    "unit": "",
    "value": 0.52,
    "low": 0.4,
    "high": 0.6,
    "n": 48,
    "clusters": 10,
    "cluster": "site",
    "better": "higher",
    "baseline": "random init",
    "baseline_value": 0.2,
    "difference": 0.3,
    "difference_low": 0.2,
    "difference_high": 0.4,
    "verdict": "wins",
    "chance": -0.01,
    "chance_name": "mean",
    "best_baseline": "colour <b>",
    "best_baseline_value": 0.45,
}


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture(scope="module")
def dataset(tiny):
    return Dataset(tiny)


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    """A run with every kind of thing that the report reads: a failed part, a skipped task, ..."""
    folder = tmp_path_factory.mktemp("run")
    size = {"chip_px": 32, "chip_m": 320.0}
    pair(
        dataset.photo_table(),
        dataset.scenes(),
        folder=folder / "outputs/pair",
        photos_root=dataset.folder,
        **size,
        progress=False,
    )
    with style.context():
        from matplotlib.figure import Figure

        figure = Figure()
        figure.subplots().plot([1, 2])
    style.save(figure, folder / "outputs/pretrain/figures/curves")
    style.save(figure, folder / "outputs/benchmark/sv-green_view/figures/scores")
    weights = {"source": "trained here", "steps": 1000, "reason": "36 photos: see `init` <x>."}
    put(folder / "outputs/pretrain/provenance.json", weights)
    for name, result in {
        "sv-green_view": {"status": "ran", "headline": HEAD, "data": "synthetic"},
        "rs-eurosat": {"status": "skipped", "reason": "no folder eurosat_rgb", "headline": {}},
    }.items():
        put(folder / f"outputs/benchmark/{name}/result.json", {"task": name} | result)
    frame = pd.DataFrame(
        {
            "task": "sv-green_view",
            "split": "s",
            "metric": "R2",
            "encoder": "gair",
            "seed": ["mean", "0"],
            "value": [0.52, 0.51],
            "low": np.nan,
            "high": np.nan,
            "n": 48,
        }
    )
    frame.to_parquet(folder / "outputs/benchmark/sv-green_view/rows.parquet")
    numbers = {"val_recall_at_1": 0.142, "val_recall_at_1_low": 0.1, "val_recall_at_1_high": 0.2}
    put(folder / "metrics/pretrain.json", numbers | {"deep": {"er": 3}})
    errors = {"median_error_m": 164.2, "median_error_low_m": 120.1, "median_error_high_m": 200.4}
    put(folder / "metrics/explore.json", {"photos": 12, "median_guess_m": 231.0} | errors)
    record = {"html": "30-pretrain.html", "title": "Can it <learn>?"}
    record["parameters"] = {"lr": 1e-3, "steps": 1000}
    put(folder / "reports/30-pretrain.json", record)
    (folder / "outputs/explore").mkdir()
    (folder / "outputs/explore/map.html").write_text("<html>map</html>")
    for name, text in (("outputs", "ablation"), ("stress", "stress")):
        (folder / "ablation" / name).mkdir(parents=True)
        (folder / "ablation" / name / "index.html").write_text(f"<html>{text}</html>")
    counts = {"wins": 3, "ties": 2, "losses": 1, "no_interval": 0, "baseline_ahead": 2}
    put(folder / "metrics/scoreboard.json", {"tasks": 4, "lines": 12, "rs": counts, "sv": counts})
    return folder


def folders(run):
    return {k: run / k for k in ("outputs", "metrics", "reports")}


class Tags(HTMLParser):
    """Open tags must be closed again, in order."""

    VOID = {"meta", "img", "br", "input", "link", "line", "circle", "path"}

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag in self.VOID or self.open.pop() == tag


@pytest.fixture(scope="module")
def page(run, dataset):
    return report.build(dataset, **folders(run)).read_text()


def test_the_page_is_whole_and_needs_no_network(page):
    assert external_loads(page) == [] and 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page
    tags = Tags()
    tags.feed(page)
    assert tags.open == []


def test_the_page_says_what_the_data_and_the_weights_are(page):
    assert page.count("synthetic data") >= 4 and "real data" not in page
    assert "trained here" in page and "1,000 steps" in page and "<code>init</code>" in page
    assert "36 of 40 photos paired" in page


def test_cards_have_headline_interval_runtime_parameters_and_link(page):
    card = re.search(r'<section class="card" id="pretrain">.*?</section>', page, re.S).group(0)
    assert "14.2% <small>[10.0%, 20.0%]</small>" in card and "Validation recall@1" in card
    assert "<dt>lr</dt><dd>0.001</dd>" in card
    assert 'href="30-pretrain.html"' in card and "data:image/" in card and "deep.er" in card
    explored = re.search(r'<section class="card" id="explore">.*?</section>', page, re.S).group(0)
    assert "164 m <small>[120, 200]</small>" in explored and "a random point: 231 m" in explored
    assert 'href="map.html"' in explored
    task = re.search(r'<section class="card" id="sv-green_view">.*?</section>', page, re.S).group(0)
    assert "0.52 <small>[0.4, 0.6]</small>" in task and "untrained 0.2" in task


def test_a_reports_folder_holds_every_page_that_it_links(page, run):
    """Sent to someone without the rest of the run."""
    links = {a for a in re.findall(r'href="([^"#]+)"', page) if not a.startswith("https:")}
    assert {"map.html", "ablation.html", "stress.html"} <= links
    assert not [a for a in links if "/" in a]
    for name, text in (("map", "map"), ("ablation", "ablation"), ("stress", "stress")):
        assert (run / f"reports/{name}.html").read_text() == f"<html>{text}</html>"


def test_a_copy_is_made_anew_and_no_link_is_written_through(run, dataset, tmp_path):
    kept = tmp_path / "kept-by-dvc.html"
    kept.write_text("old")
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/map.html").hardlink_to(kept)
    report.build(dataset, **folders(run) | {"reports": tmp_path / "reports"})
    assert (tmp_path / "reports/map.html").read_text() == "<html>map</html>"
    assert kept.read_text() == "old"


def test_linked_pages_of_the_ablation_are_what_its_pipeline_writes():
    stages = yaml.safe_load((ROOT / "ablation/dvc.yaml").read_text())["stages"].values()
    written = {s["cmd"].split("--html ")[1].split()[0] for s in stages}
    outs = [out for s in stages for out in s["outs"]]
    linked = [path for _, _, path, _ in report.PAGES if path.startswith("ablation/")]
    assert len(linked) == 2
    for path in linked:
        assert path in written and any(path.startswith(f"{out}/") for out in outs), path


def test_the_scoreboards_card_counts_ahead_level_and_behind(page):
    card = re.search(r'<section class="card" id="scoreboard">.*?</section>', page, re.S).group(0)
    assert "6 ahead, 4 level, 2 behind" in card and "12 lines" in card
    assert "ahead beyond its interval: 4" in card


def test_a_note_begins_with_its_first_part_and_a_card_has_the_figure_it_names(tmp_path):
    numbers = {"median_error_m": 12.0, "median_guess_m": 231.0}  # few photos: no interval
    card = report._card("explore", "stage", {}, numbers, tmp_path, "", ("median_error_m",))
    assert card.note == "a random point: 231 m"
    _, figure, keys = report.STAGES["pair"]
    for name in ("box_interpolation", "map", "pairs"):
        (tmp_path / "figures").mkdir(exist_ok=True)
        (tmp_path / f"figures/{name}.png").touch()
    card = report._card("pair", "stage", {}, {}, tmp_path, figure, keys)
    assert card.figure.stem == "pairs" and card.note == ""


def test_text_of_files_is_escaped(page):
    assert "<learn>" not in page and "colour <b>" not in page and "&lt;learn&gt;" in page


def test_skipped_and_rejected_are_listed(run, dataset):
    found = report.gather(dataset, **folders(run))
    skipped = dict(found.skipped)
    assert skipped["rs-eurosat"] == "no folder eurosat_rgb"
    assert skipped["landcover"].startswith("absent")
    assert "not in the list" in skipped["location-warmth-warmth"]
    items = set(found.rejected["item"])
    assert {"broken", "gone", "far-away", "swapped"} <= items
    html = report_html.page(found)
    assert all(text in html for text in ("no folder eurosat_rgb", "far-away", "Rejected rows (4)"))
    assert found.results_table().loc[0, "value"] == "0.52 [0.4, 0.6]"
    assert len(found.rows) == 1  # the seeds' mean alone
    assert "1 better, 0 worse" in report.conclusions(found)


def test_nothing_has_run_yet(dataset, tmp_path):
    found = report.gather(dataset, **folders(tmp_path))
    assert not found.cards and not len(found.results) and found.weights == {}
    page = report.write(found, tmp_path / "reports").read_text()
    assert "No benchmark has run" in page and external_loads(page) == []
    assert {p.kind for p in found.gallery} == {"scene", "photo"}
    assert len(found.results_table()) == 0 and "0 benchmarks" in report.conclusions(found)


def test_a_torn_file_is_named(dataset, tmp_path):
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/pair.json").write_text("{")
    with pytest.raises(BadInput, match="pair.json"):
        report.gather(dataset, **folders(tmp_path))


def test_gallery_shows_each_scene_once_and_marks_the_place(run, dataset):
    found = gallery.pictures(dataset, run / "outputs/pair")
    pairs = [p for p in found if p.kind == "pair"]
    assert len(pairs) == gallery.PAIRS and all(len(p.images) == 2 for p in pairs)
    spread = pd.Series([p.caption.split(" in ")[1] for p in pairs]).value_counts()
    assert spread.tolist() == [4, 4, 4]
    assert not [p for p in found if p.kind == "scene"]  # all three are in the pairs
    again = gallery.pictures(dataset, run / "outputs/pair")
    assert found == again


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
    assert report.number(value) == text


def test_strip_keeps_inside_its_box():
    for head in (HEAD, HEAD | {"value": 5.0, "low": float("nan")}, {"value": 0.0}, {}):
        drawn = report_html.strip(head)
        places = [float(x) for x in re.findall(r'(?:cx|x1|x2)="([-\d.]+)"', drawn)]
        assert all(0 <= x <= 190 for x in places)


def test_a_strip_says_its_numbers():
    label = re.search(r'aria-label="([^"]*)"', report_html.strip(HEAD)).group(1)
    assert label == ("GAIR 0.52 [0.4, 0.6], untrained 0.2, best baseline 0.45, chance -0.01")


def test_verdicts_are_legible_on_light_and_on_dark():
    """WCAG's contrast of text, 4.5, against the cards' ground."""

    def light(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return np.dot(linear, (0.2126, 0.7152, 0.0722))

    rule = re.search(r"\.loses \{ color: var\(--(\w+)\)", report_style.STYLE).group(1)
    found = dict(
        light=report_style.STYLE.split("@media")[0], dark=report_style.STYLE.split("@media")[1]
    )
    for scheme, css in found.items():
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]+)", css))
        card = colours["card"] if len(colours["card"]) == 7 else "#ffffff"
        for name in (rule, "real"):
            a, b = sorted((light(colours[name]), light(card)))
            assert (b + 0.05) / (a + 0.05) >= 4.5, (scheme, name)


def test_the_gallery_names_a_photos_source_whatever_its_column():
    place = {"lat": 1.0, "lon": 2.0}
    said = gallery._about(place | {"photo_source": "Mapillary", "licence": "CC BY-SA 4.0"})
    assert said == "1.0000, 2.0000, Mapillary, CC BY-SA 4.0"
    assert gallery._about(place | {"source": "mine", "photo_source": None}).endswith("mine")


# ---------------------------------------------------------------------------- exploration


def test_choices_of_scene_and_photo(run, dataset):
    manifest = store.load(run / "outputs/pair").manifest
    assert explore.choose_scene(dataset, manifest).id == "perth"  # the test site
    assert explore.choose_scene(dataset, manifest[manifest["split"] != "test"]).id == "bern"
    assert explore.choose_scene(dataset, manifest.iloc[:0]).id == "bern"
    assert explore.choose_scene(dataset, manifest, "quito").id == "quito"
    with pytest.raises(BadInput, match="no scene 'rome'"):
        explore.choose_scene(dataset, manifest, "rome")
    photos = explore.scene_photos(manifest, dataset.scene("perth"))
    assert len(photos) == 12 and photos["photo_id"].is_unique
    assert explore.choose_photo(photos, "perth-03") == 3
    assert explore.choose_photo(photos, seed=1) == explore.choose_photo(photos, seed=1)
    assert explore.choose_photo(photos.iloc[:0]) is None
    with pytest.raises(BadInput, match="12 paired photos"):
        explore.choose_photo(photos, "bern-00")


def test_summary_and_conclusions_hold_for_any_outcome(dataset):
    class Stub:
        valid = np.ones((4, 5), bool)

    scene = dataset.scenes()[0]
    assert explore.summary([], Stub, None) == {"photos": 0, "field_cells": 20}
    said = explore.conclusions({"photos": 0, "field_cells": 20}, scene, dataset, "trained here")
    assert "no photo" in said
    for errors, word in (
        ([10, 20, 30] * 9, "better than"),
        ([900] * 27, "worse than"),
        ([10, 900] * 13, "not clearly different"),
    ):
        findings = [Finding(0, 0, 0.5, float(e), 300.0) for e in errors]
        numbers = explore.summary(findings, Stub, 0)
        assert numbers["median_error_m"] == np.median(errors)
        assert word in explore.conclusions(numbers, scene, dataset, "trained here")
    numbers = explore.summary(findings[:1], Stub, 0)
    assert "median_error_low_m" not in numbers  # one photo has no interval
    assert "1 photo the" in explore.conclusions(numbers, scene, dataset, "trained here")


def test_similarity_maps_say_what_their_colours_and_rings_mean(dataset):
    """A colour bar a panel, a legend, a black ring below the white one, ticks that do not meet."""
    sv = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 1}
    size = {"dim": 16, "rs_size": 32, "rs_patch": 8, "rs_depth": 1, "rs_heads": 2, "sv_size": 32}
    model = encode.random_init(GAIRConfig.preset("small", **size, sv_options=sv), 0)
    scene, row = dataset.scene("quito"), dataset.street().query("site == 'quito'").iloc[0]
    vector = encode.photos(model, dataset, dataset.street().query("site == 'quito'"))[0]
    lonlat = (row.lon, row.lat)
    drawn = similarity.maps(
        similarity.readings(model),
        scene,
        vector,
        lonlat,
        chip_px=32,
        chip_m=320.0,
        sides={10.0: 320.0, 5.0: 160.0},
    )
    figure = inr.similarities(drawn, lonlat)
    panels = [a for a in figure.axes if a.get_images() and a.get_title(loc="left")]
    bars = [a for a in figure.axes if a.get_ylabel() == "cosine similarity"]
    assert len(panels) == len(drawn) == len(bars)
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ["truth", "most similar"]
    for axis in panels:
        rings = [line for line in axis.lines if line.get_markerfacecolor() == "none"]
        assert [r.get_markeredgecolor() for r in rings] == ["black", "white"]
        assert rings[0].get_markeredgewidth() > rings[1].get_markeredgewidth()
        sides = [t.get_horizontalalignment() for t in axis.get_xticklabels()]
        assert sides == ["left", "right"]


def test_importing_the_runner_is_quick():
    """It runs before every stage: neither torch nor a plotting library may come with it."""
    heavy = "{'torch', 'matplotlib', 'papermill'}"
    code = f"import sys, research.pipeline.notebook; print({heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

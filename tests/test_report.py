"""The report: says what ran and what did not, for any state of the outputs, without a network."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from gairlib import explore, pairing, report, report_gallery, report_html
from gairlib.dataset import Dataset
from gairlib.errors import BadInput
from gairlib.field import Finding
from gairlib.figures import style
from gairlib.offline import external_loads

HEAD = {
    "metric": "R2", "split": "held-out sites", "unit": "", "value": 0.52, "low": 0.4, "high": 0.6,
    "n": 48, "clusters": 10, "cluster": "site", "better": "higher", "baseline": "random init",
    "baseline_value": 0.2, "difference": 0.3, "difference_low": 0.2, "difference_high": 0.4,
    "verdict": "wins", "chance": -0.01, "chance_name": "mean", "best_baseline": "colour <b>",
    "best_baseline_value": 0.45,
}  # fmt: skip


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
    pairing.pair(dataset.photo_table(), dataset.scenes(), folder=folder / "outputs/pair",
                 photos_root=dataset.folder, **size, progress=False)  # fmt: skip
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
    frame = pd.DataFrame({"task": "sv-green_view", "split": "s", "metric": "R2", "encoder": "gair",
                          "seed": ["mean", "0"], "value": [0.52, 0.51], "low": np.nan,
                          "high": np.nan, "n": 48})  # fmt: skip
    frame.to_parquet(folder / "outputs/benchmark/sv-green_view/rows.parquet")
    numbers = {"val_recall_at_1": 0.142, "val_recall_at_1_low": 0.1, "val_recall_at_1_high": 0.2}
    put(folder / "metrics/pretrain.json", numbers | {"deep": {"er": 3}})
    errors = {"median_error_m": 164.2, "median_error_low_m": 120.1, "median_error_high_m": 200.4}
    put(folder / "metrics/explore.json", {"photos": 12, "median_guess_m": 231.0} | errors)
    record = {"html": "30-pretrain.html", "title": "Can it <learn>?", "seconds": 252.4}
    record["parameters"] = {"lr": 1e-3, "steps": 1000}
    put(folder / "reports/30-pretrain.json", record)
    (folder / "outputs/explore").mkdir()
    (folder / "outputs/explore/map.html").write_text("<html></html>")
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
    assert "4 min 12 s" in card and "<dt>lr</dt><dd>0.001</dd>" in card
    assert 'href="30-pretrain.html"' in card and "data:image/" in card and "deep.er" in card
    explored = re.search(r'<section class="card" id="explore">.*?</section>', page, re.S).group(0)
    assert "164 m <small>[120, 200]</small>" in explored and "a random point: 231 m" in explored
    assert 'href="../outputs/explore/map.html"' in explored
    task = re.search(r'<section class="card" id="sv-green_view">.*?</section>', page, re.S).group(0)
    assert "0.52 <small>[0.4, 0.6]</small>" in task and "untrained 0.2" in task


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
    found = report_gallery.pictures(dataset, run / "outputs/pair")
    pairs = [p for p in found if p.kind == "pair"]
    assert len(pairs) == report_gallery.PAIRS and all(len(p.images) == 2 for p in pairs)
    spread = pd.Series([p.caption.split(" in ")[1] for p in pairs]).value_counts()
    assert spread.tolist() == [4, 4, 4]
    assert not [p for p in found if p.kind == "scene"]  # all three are in the pairs
    again = report_gallery.pictures(dataset, run / "outputs/pair")
    assert found == again


@pytest.mark.parametrize(
    "value, text",
    [(0.5234, "0.523"), (1234.5, "1,234"), (12, "12"), (5e-5, "0.0001"), (float("nan"), ""),
     (None, ""), (-0.018, "-0.018"), ("x", "x"), (150000, "150,000")],
)  # fmt: skip
def test_numbers(value, text):
    assert report.number(value) == text


def test_strip_keeps_inside_its_box():
    for head in (HEAD, HEAD | {"value": 5.0, "low": float("nan")}, {"value": 0.0}, {}):
        drawn = report_html.strip(head)
        places = [float(x) for x in re.findall(r'(?:cx|x1|x2)="([-\d.]+)"', drawn)]
        assert all(0 <= x <= 190 for x in places)


# ---------------------------------------------------------------------------- exploration


def test_choices_of_scene_and_photo(run, dataset):
    manifest = pairing.load(run / "outputs/pair").manifest
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
    for errors, word in (([10, 20, 30] * 9, "better than"), ([900] * 27, "worse than"),
                         ([10, 900] * 13, "not clearly different")):  # fmt: skip
        findings = [Finding(0, 0, 0.5, float(e), 300.0) for e in errors]
        numbers = explore.summary(findings, Stub, 0)
        assert numbers["median_error_m"] == np.median(errors)
        assert word in explore.conclusions(numbers, scene, dataset, "trained here")
    numbers = explore.summary(findings[:1], Stub, 0)
    assert "median_error_low_m" not in numbers  # one photo has no interval
    assert "1 photo the" in explore.conclusions(numbers, scene, dataset, "trained here")


def test_importing_the_runner_is_quick():
    """It runs before every stage: neither torch nor a plotting library may come with it."""
    heavy = "{'torch', 'matplotlib', 'papermill'}"
    code = f"import sys, gairlib.notebook; print({heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

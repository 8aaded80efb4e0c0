"""The report: says what ran and what did not, for any state of the outputs, without a network."""

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import yaml
from builders.benchmark_results import put, skip

from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from gairlib.pairs.pairing import pair
from research.evaluation.table import OURS, RANDOM
from research.figures import style
from research.pipeline.offline import external_loads
from research.reports import gallery, report
from research.tasks.data import of_one_city

ROOT = Path(__file__).resolve().parents[3]


def write_json(path, content):
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
    write_json(folder / "outputs/pretrain/provenance.json", weights)
    encoders = {
        OURS: (0.52, "tie", "ridge"),
        RANDOM: (0.2, "wins", "ridge"),
        "mean": (-0.01, "wins", "none"),
        "colour <b>": (0.45, "wins", "ridge"),
    }
    put(folder / "outputs", "sv-green_view", "sv", "R2", encoders)
    skip(folder / "outputs", "rs-eurosat", "no folder eurosat_rgb")
    numbers = {"val_recall_at_1": 0.142, "val_recall_at_1_low": 0.1, "val_recall_at_1_high": 0.2}
    write_json(folder / "metrics/pretrain.json", numbers | {"deep": {"er": 3}})
    errors = {"median_error_m": 164.2, "median_error_low_m": 120.1, "median_error_high_m": 200.4}
    write_json(folder / "metrics/explore.json", {"photos": 12, "median_guess_m": 231.0} | errors)
    record = {"html": "30-pretrain.html", "title": "Can it <learn>?"}
    record["parameters"] = {"lr": 1e-3, "steps": 1000}
    write_json(folder / "reports/30-pretrain.json", record)
    (folder / "outputs/explore").mkdir()
    (folder / "outputs/explore/map.html").write_text("<html>map</html>")
    for name, text in (("outputs", "ablation"), ("stress", "stress"), ("seeds", "seeds")):
        (folder / "ablation" / name).mkdir(parents=True)
        (folder / "ablation" / name / "index.html").write_text(f"<html>{text}</html>")
    counts = {"wins": 3, "ties": 2, "losses": 1, "no_interval": 0, "baseline_ahead": 2}
    totals = {"tasks": 4, "skipped": 0, "lines": 12}
    write_json(folder / "metrics/scoreboard.json", totals | {"rs": counts, "sv": counts})
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
    assert "0.52 <small>[0.42, 0.62]</small>" in task and "untrained 0.2" in task


def test_a_reports_folder_holds_every_page_that_it_links(page, run):
    """Sent to someone without the rest of the run."""
    links = {a for a in re.findall(r'href="([^"#]+)"', page) if not a.startswith("https:")}
    assert {"map.html", "ablation.html", "stress.html", "seeds.html"} <= links
    assert not [a for a in links if "/" in a]
    for name, text in [("map", "map"), *((n, n) for n in ("ablation", "stress", "seeds"))]:
        assert (run / f"reports/{name}.html").read_text() == f"<html>{text}</html>"


def test_a_copy_is_made_anew_and_no_link_is_written_through(run, dataset, tmp_path):
    kept = tmp_path / "kept-by-dvc.html"
    kept.write_text("old")
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/map.html").hardlink_to(kept)
    report.build(dataset, **folders(run) | {"reports": tmp_path / "reports"})
    assert (tmp_path / "reports/map.html").read_text() == "<html>map</html>"
    assert kept.read_text() == "old"


def test_a_run_without_a_field_has_a_page_that_says_so_in_place_of_the_map(dataset, tmp_path):
    page = report.build(dataset, **folders(tmp_path)).read_text()
    assert 'href="map.html"' not in page
    said = (tmp_path / "reports/map.html").read_text()
    assert "<h1>No map</h1>" in said and 'href="index.html"' in said


def test_linked_pages_of_the_ablation_are_what_its_pipeline_writes():
    stages = yaml.safe_load((ROOT / "ablation/dvc.yaml").read_text())["stages"].values()
    written = {s["cmd"].split("--html ")[1].split()[0] for s in stages}
    outs = [out for s in stages for out in s["outs"]]
    linked = [path for _, _, path, _ in report.PAGES if path.startswith("ablation/")]
    assert len(linked) == 3
    for path in linked:
        assert path in written and any(path.startswith(f"{out}/") for out in outs), path


def test_the_scoreboards_card_counts_ahead_level_and_behind(page):
    card = re.search(r'<section class="card" id="scoreboard">.*?</section>', page, re.S).group(0)
    assert "6 ahead, 4 level, 2 behind" in card and "12 lines" in card
    assert "ahead beyond its interval: 4" in card


def test_a_note_begins_with_its_first_part_and_a_card_has_the_figure_it_names(dataset, tmp_path):
    few = {"median_error_m": 12.0, "median_guess_m": 231.0}  # few photos: no interval
    write_json(tmp_path / "metrics/explore.json", few)
    write_json(tmp_path / "metrics/inspect.json", {"scenes": 3})
    (tmp_path / "outputs/inspect/figures").mkdir(parents=True)
    for name in ("box_interpolation", "map"):
        (tmp_path / f"outputs/inspect/figures/{name}.webp").touch()
    cards = {c.name: c for c in report.gather(dataset, **folders(tmp_path)).cards}
    assert cards["explore"].note == "a random point: 231 m"
    assert cards["inspect"].figure.stem == "box_interpolation" and cards["inspect"].note == ""
    (tmp_path / "outputs/inspect/figures/scenes.webp").touch()
    cards = {c.name: c for c in report.gather(dataset, **folders(tmp_path)).cards}
    assert cards["inspect"].figure.stem == "scenes"


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
    html = report.page(found)
    assert all(text in html for text in ("no folder eurosat_rgb", "far-away", "Rejected rows (4)"))
    assert found.results_table().loc[0, "value"] == "0.52 [0.42, 0.62]"
    assert len(found.rows) == 4  # the seeds' mean alone
    assert [x.random.verdict for x in found.lines if x.random].count("wins") == 1


def test_nothing_has_run_yet(dataset, tmp_path):
    found = report.gather(dataset, **folders(tmp_path))
    assert not found.cards and not found.lines and found.weights == {}
    page = report.write(found, tmp_path / "reports").read_text()
    assert "No benchmark has run" in page and external_loads(page) == []
    assert {p.kind for p in found.gallery} == {"scene", "photo"}
    assert len(found.results_table()) == 0 and not found.lines


def test_a_folder_of_nothing_says_so_and_what_stages_skipped(tmp_path):
    (tmp_path / "empty").mkdir()
    write_json(tmp_path / "metrics/explore.json", {"ran": 0, "skipped": "no <b>scene</b>"})
    write_json(tmp_path / "metrics/scoreboard.json", {"tasks": 0, "skipped": 0, "lines": 0})
    found = report.gather(Dataset(tmp_path / "empty"), **folders(tmp_path))
    skipped = dict(found.skipped)
    assert skipped["explore"] == "no <b>scene</b>" and "scoreboard" not in skipped
    text = report.page(found)
    assert "nothing that can be used" in text and "no &lt;b&gt;scene" in text
    assert "data are real" not in text


def test_what_a_split_inside_one_area_can_show_stands_beside_the_results(dataset, tmp_path):
    encoders = {OURS: (0.5, "", "ridge"), RANDOM: (0.4, "wins", "ridge")}
    said = of_one_city("0.002° block", 0.002)
    for task, notes in (("sv-a", said), ("sv-b", [*said, "other"]), ("sv-c", ["other"])):
        put(tmp_path / "outputs", task, "photo", "R2", encoders)
        path = tmp_path / f"outputs/benchmark/{task}/result.json"
        write_json(path, json.loads(path.read_text()) | {"notes": notes})
    found = report.gather(dataset, **folders(tmp_path))
    (limit,) = found.limits
    assert limit.startswith("sv-a, sv-b: all examples lie in one area") and "other cities" in limit
    assert limit in html.unescape(report.page(found))


def test_where_no_photo_was_paired_the_reason_stands_beside_the_count(dataset, tmp_path):
    """And nothing is said of a division into train, val and test that no photo is in."""
    pairing = {"photos_in": 3, "paired": 0, "chips": 0, "division": "all are for training"}
    write_json(tmp_path / "outputs/pair/report.json", pairing)
    reasons = {"photo_id": ["a", "b", "c"], "reason": ["in no scene", "no date", "in no scene"]}
    pd.DataFrame(reasons).to_parquet(tmp_path / "outputs/pair/rejected.parquet")
    page = report.page(report.gather(dataset, **folders(tmp_path)))
    assert "Most often: in no scene." in page and "all are for training" not in page
    write_json(tmp_path / "outputs/pair/report.json", pairing | {"paired": 1})
    page = report.page(report.gather(dataset, **folders(tmp_path)))
    assert "Most often" not in page and "all are for training" in page


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


def test_the_gallery_names_a_photos_source_whatever_its_column():
    place = {"lat": 1.0, "lon": 2.0}
    said = gallery._about(place | {"photo_source": "Mapillary", "licence": "CC BY-SA 4.0"})
    assert said == "1.0000, 2.0000, Mapillary, CC BY-SA 4.0"
    assert gallery._about(place | {"source": "mine", "photo_source": None}).endswith("mine")

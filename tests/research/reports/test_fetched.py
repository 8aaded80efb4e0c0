"""What a stage found on fetched data stands with the real numbers, first, and in no count."""

import json

import pandas as pd
import pytest
from builders.benchmark_results import put, skip

from gairlib.data.dataset import Dataset
from research.evaluation.table import OURS, RANDOM
from research.reports import quoted, report
from research.reports.lines import by_data
from research.reports.scoreboard import board, page
from research.tasks.result import Split

BASE = {OURS: (0.5, "", "logistic"), RANDOM: (0.3, "wins", "logistic")}
BLOCKS = Split("blocks, 5 folds", "block")


def real(folder):
    """The rows and the record of a benchmark, as of real data."""
    rows = pd.read_parquet(folder / "rows.parquet").assign(data="real")
    rows.to_parquet(folder / "rows.parquet")
    about = json.loads((folder / "result.json").read_text()) | {"data": "real"}
    (folder / "result.json").write_text(json.dumps(about))


@pytest.fixture
def run(tmp_path):
    """A synthetic benchmark, a skipped one, and the fetched scene's."""
    out = tmp_path / "outputs"
    put(out, "rs-landcover", "rs", "accuracy", BASE)
    skip(out, "rs-eurosat", "no folder")
    put(out, "rs-landuse", "rs", "balanced accuracy", BASE, split=BLOCKS)
    real(out / "benchmark/rs-landuse")
    (out / "benchmark/rs-landuse").rename(out / "brandenburg")
    (out / "brandenburg/map.html").write_text("<title>Brielow</title>")
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/67-brandenburg.json").write_text(
        json.dumps({"title": "A real scene", "html": "67-brandenburg.html"})
    )
    return {"outputs": out, "metrics": tmp_path / "metrics", "reports": tmp_path / "reports"}


def test_the_report_shows_real_numbers_first_with_their_map(tiny, run):
    found = report.gather(Dataset(tiny), **run)
    assert [data for data, _ in by_data(found.lines)] == ["real", "synthetic"]
    card = next(c for c in found.cards if c.name == "rs-landuse")
    assert (card.data, card.map, card.page) == ("real", report.REAL_MAP, "67-brandenburg.html")
    path = report.write(found, run["reports"])
    text = path.read_text()
    results = text.split(">Results<")[1]
    assert results.index("#rs-landuse") < results.index("#rs-landcover")
    assert text.index('id="rs-landuse"') < text.index('id="rs-landcover"')
    assert "Brielow" in path.with_name(report.REAL_MAP).read_text()


def test_the_scoreboard_shows_them_and_counts_them_nowhere(tiny, run):
    with_it = board.build(Dataset(tiny), **run)
    assert [(data, [x.task for x in of]) for data, of in with_it.shown] == [
        ("real", ["rs-landuse"]),
        ("synthetic", ["rs-landcover"]),
    ]
    text = page.page(with_it)
    assert "dvc repro brandenburg" in text and "in none of these counts" in text
    assert text.index("rs-landuse</a>") < text.index("rs-landcover")
    (run["outputs"] / "brandenburg/result.json").unlink()
    without = board.build(Dataset(tiny), **run)
    assert with_it.metrics() == without.metrics() and with_it.summary() == without.summary()
    assert "in none of these counts" not in page.page(without)


def test_a_scene_that_could_not_be_fetched_is_among_the_skipped(tiny, run):
    (run["outputs"] / "brandenburg/result.json").unlink()
    (run["outputs"] / "brandenburg/map.html").unlink()
    run["metrics"].mkdir()
    (run["metrics"] / "brandenburg.json").write_text(
        json.dumps({"ran": 0, "skipped": "not run: no network"})
    )
    found = report.gather(Dataset(tiny), **run)
    assert ("brandenburg", "not run: no network") in found.skipped
    assert report.REAL_MAP not in report.page(found)


def test_pages_quote_real_tasks_first(tmp_path):
    def write(name, data):
        path = tmp_path / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        what = dict.fromkeys(("split", "metric", "unit", "cluster"), "x") | {"n": 4, "clusters": 2}
        about = {"question": "", "claim": "", "subject": "chip", "data": data}
        numbers = {"k": 0.5, "others": {"k": {}}, "upper_bounds": {}}
        path.write_text(json.dumps(numbers | {"about": about | {"judged": {"k": what}}}))

    write("benchmark/a", "synthetic")
    write("benchmark/b", "real")
    write("brandenburg", "real")
    write("other", "real")
    found = quoted.Metrics.read(tmp_path).lines
    assert [task for task, _ in found] == ["rs-landuse", "b", "a"]
    (tmp_path / "brandenburg.json").write_text(json.dumps({"ran": 0, "skipped": "not run"}))
    assert [task for task, _ in quoted.Metrics.read(tmp_path).lines] == ["b", "a"]

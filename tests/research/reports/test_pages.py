"""Numbers of the pages: read back from metrics files as the scoreboard has them from its tables."""

import json

import pandas as pd
import pytest
from builders.benchmark_results import SITES, put

from gairlib.data.dataset import Dataset
from research.evaluation.table import END_TO_END, OURS, RANDOM
from research.reports import pages, revisions
from research.reports.gather import gather
from research.reports.lines import lines
from research.tasks.result import Result


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with outputs/ and metrics/ of one task, and its tables' values by name."""
    folder = tmp_path_factory.mktemp("pages")
    encoders = {
        OURS: (0.6, "tie", "ridge"),
        "better <b>": (0.9, "loses", "ridge"),
        RANDOM: (0.2, "wins", "ridge"),
        "level": (0.605, "tie", "ridge"),
        "mean": (0.0, "wins", "none"),
        "supervised": (0.95, "loses", END_TO_END),
    }
    put(folder / "outputs", "sv-green_view", "sv", "R2", encoders)
    out = folder / "outputs/benchmark/sv-green_view"
    result = Result(
        "sv-green_view",
        "d",
        True,
        "How green?",
        subject="photo",
        splits={SITES.name: SITES},
        rows=pd.read_parquet(out / "rows.parquet"),
        comparison=pd.read_csv(out / "comparison.csv", keep_default_na=False),
        mainline=[("r2", SITES.name, "R2")],
    )
    result.save(out, folder / "metrics/benchmark/sv-green_view.json")
    (folder / "metrics/pair.json").write_text('{"photos_train": 4608, "photos_val": 288}')
    return folder


@pytest.fixture(scope="module")
def metrics(run):
    return pages.Metrics.read(run / "metrics")


def test_a_line_from_the_metrics_file_is_the_one_from_the_tables(run, metrics, tiny):
    (expected,) = lines(gather(Dataset(tiny), outputs=run / "outputs", metrics=run, reports=run))
    got = metrics.lines["sv-green_view", "r2"]
    for name in (
        "task",
        "metric",
        "unit",
        "n",
        "clusters",
        "cluster",
        "data",
        "headline",
        "status",
    ):
        assert getattr(got, name) == getattr(expected, name), name
    for name in ("value", "low", "high"):
        assert getattr(got, name) == pytest.approx(getattr(expected, name), rel=1e-5)
    for name in ("others", "own", "upper"):
        ours, theirs = getattr(got, name), getattr(expected, name)
        assert [(a.name, a.verdict) for a in ours] == [(a.name, a.verdict) for a in theirs]
        assert [a.difference for a in ours] == pytest.approx([a.difference for a in theirs])
    for name in ("random", "blind", "best"):
        assert getattr(got, name).name == getattr(expected, name).name
    assert [a.name for a in got.upper] == ["supervised"]


def test_bold_is_who_is_ahead_and_a_bound_is_no_rival(metrics):
    (row,) = pages.headlines(metrics).splitlines()[2:]
    cells = [cell.strip() for cell in row.split("|")[2:-1]]
    assert cells == [
        "synthetic",
        "0.6 [0.5, 0.7]",
        "0.2",
        "mean 0.0000",
        "**better <b> 0.9**",
        "0.95 supervised",
    ]


def test_regions_are_filled_and_the_rest_stays(metrics):
    page = "a 0.5\n<!-- metrics: headlines -->\nold\n<!-- end -->\nb\n"
    text = pages.written(page, metrics)
    assert text.startswith("a 0.5\n<!-- metrics: headlines -->\n\n| question")
    assert text.endswith("|\n\n<!-- end -->\nb\n") and "old" not in text
    assert pages.written(text, metrics) == text
    with pytest.raises(KeyError, match="nonsense"):
        pages.written("<!-- metrics: nonsense -->\n<!-- end -->", metrics)


def test_what_moved_is_told_by_task_and_key(metrics, monkeypatch):
    old = {"r2": 0.4, "r2_low": 0.3, "r2_high": 0.5, "r2_random_init": 0.45}
    old |= {"gain_low": -0.1, "gain_high": 0.05}
    found = type("Done", (), {"stdout": json.dumps(old)})
    monkeypatch.setattr(revisions.subprocess, "run", lambda *a, **k: found)
    (row,) = revisions.moved(metrics, "abc").splitlines()[2:]
    assert row.endswith("| 0.4 [0.3, 0.5] | 0.6 [0.5, 0.7] | 0.45 | 0.2 | undecided to better |")

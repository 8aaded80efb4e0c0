"""CoordBench's protocol on tables made here: splits, rivals, means, and what is written."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from builders.small_models import TINY

from gairlib import GAIR
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from research.evaluation import neighbours
from research.evaluation.neighbours import NEAREST
from research.evaluation.table import OURS, RANDOM, SHARED
from research.studies import block_sizes
from research.tasks.task import Options

ROOT = Path(__file__).resolve().parents[3]
ROWS = 300
SIZES = (10.0, 40.0)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """`smooth` is linear on the sphere, `cell` a number of each 10-degree cell; `town` is a table
    of one town, which has no cells of 10 degrees to hold out."""
    folder = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(0)
    lon, lat = rng.uniform(-180, 180, ROWS), rng.uniform(-60, 60, ROWS)
    lon[: ROWS // 2], lat[: ROWS // 2] = lon[ROWS // 2 :] + 0.01, lat[ROWS // 2 :]
    cell = np.floor(lon / 10) * 50 + np.floor(lat / 10)
    numbers = dict(zip(np.unique(cell), rng.normal(size=len(np.unique(cell)))))
    (folder / "tables").mkdir()
    smooth = neighbours.sphere(np.stack([lon, lat], 1)) @ [1.0, -2.0, 0.5]
    table = {"lon": lon, "lat": lat, "smooth": smooth, "cell": [numbers[c] for c in cell]}
    pd.DataFrame(table).to_csv(folder / "tables" / "made.csv", index=False)
    town = {"lon": 10 + lon / 1e4, "lat": 50 + lat / 1e4, "height": rng.normal(size=ROWS)}
    pd.DataFrame(town).to_csv(folder / "tables" / "town.csv", index=False)
    return Dataset(folder)


@pytest.fixture(scope="module")
def rows(dataset, tmp_path_factory):
    checkpoint = tmp_path_factory.mktemp("model")
    GAIR(TINY).save_pretrained(checkpoint)
    return block_sizes.measure(dataset, Options(checkpoint, bootstrap=30), SIZES, ["xyz"])


def value(rows, task, encoder, split):
    at = (rows.task == f"made-{task}") & (rows.encoder == encoder) & (rows.split == split)
    return float(rows.loc[at, "value"].iloc[0])


def test_all_encoders_answer_for_all_rows_in_all_splits(rows):
    assert set(rows["task"]) == {"made-smooth", "made-cell"}  # a town has no such blocks
    assert list(rows["split"].unique()) == ["random", "10", "40"]
    known = {OURS, SHARED, RANDOM, "coordinates", *neighbours.NEIGHBOURS, *block_sizes.DESIGNS}
    assert set(rows["encoder"]) == known | {"xyz, trained end to end"}
    assert len(rows) == 2 * 3 * 9 and (rows["n"] == ROWS).all() and rows["value"].notna().all()
    assert set(rows["cluster"]) == {"10° block", "40° block"}


def test_what_is_near_can_be_copied_and_what_is_linear_is_known_everywhere(rows):
    assert value(rows, "smooth", "coordinates", "random") > 0.999
    assert value(rows, "smooth", "coordinates", "40") > 0.99
    assert value(rows, "cell", NEAREST, "random") > 0.5 > 0.1 > value(rows, "cell", NEAREST, "40")


def test_folds_of_40_degrees_hold_out_whole_cells(dataset):
    lonlat = dataset.tables()["made"][["lon", "lat"]].to_numpy()
    scheme = block_sizes.splits(lonlat, SIZES)["40"]
    cells = np.floor((lonlat + [180, 90]) / 40) @ [100, 1]
    for train, test in scheme.folds(0):
        assert not set(cells[train]) & set(cells[test])


def test_means_and_the_written_table(rows, tmp_path):
    mean = block_sizes.means(rows)
    both = [value(rows, task, OURS, "10") for task in ("smooth", "cell")]
    assert mean.loc[OURS, "10"] == pytest.approx(np.mean(both))
    block_sizes.save(rows, tmp_path / "rows.json")
    again = block_sizes.load(tmp_path / "rows.json")
    np.testing.assert_allclose(again["value"], rows["value"], atol=1e-5)
    assert block_sizes.markdown(again) == block_sizes.markdown(rows)
    page = tmp_path / "page.md"
    page.write_text(f"# A\n{block_sizes.BEGIN}\nold\n{block_sizes.END}\nafter\n")
    for _ in range(2):  # the second writing changes nothing
        block_sizes.write_page(page, block_sizes.markdown(rows))
        text = page.read_text()
        assert f"| {OURS} | {mean.loc[OURS, 'random']:.3f} |" in text and "old" not in text
        assert text.startswith("# A\n") and text.endswith(f"{block_sizes.END}\nafter\n")
    assert "No table" in block_sizes.markdown(rows.iloc[:0])


def test_the_docs_page_shows_the_measured_rows_and_its_sentences_hold():
    rows = block_sizes.load(ROOT / "metrics/block_sizes.json")
    page = (ROOT / "docs/location.md").read_text()
    measured = page.split(block_sizes.BEGIN)[1].split(block_sizes.END)[0]
    assert measured.strip() == block_sizes.markdown(rows)
    mean = block_sizes.means(rows)
    assert (mean.loc[OURS] < mean.loc[RANDOM]).all() and (mean.loc[SHARED] < mean.loc[OURS]).all()
    ahead = mean.loc["GeoCLIP"] > mean.loc["inverse distance"]
    assert ahead.to_dict() == {"random": False, "2": False, "10": True, "20": True, "40": True}
    knowing = mean.loc[[OURS, SHARED, RANDOM, "GeoCLIP", *neighbours.NEIGHBOURS]]
    assert (knowing["random"] - knowing["40"]).idxmin() == "GeoCLIP"


def test_a_page_without_its_marks_and_a_folder_without_weights_are_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A\n")
    with pytest.raises(BadInput, match="page.md"):
        block_sizes.write_page(page, "")
    assert block_sizes.main([str(tmp_path), "--weights", f"geoclip={tmp_path / 'absent.pt'}"]) == 1

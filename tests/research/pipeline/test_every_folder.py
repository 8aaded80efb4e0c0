"""Every subset of the parts of a dataset folder is prepared, and its parts and tasks are listed."""

import html
import itertools
import json
import shutil

import nbformat
import pandas as pd
import pytest
import yaml
from builders import in_process
from builders.small_run import SMALL
from PIL import Image

from gairlib import GAIR, GAIRConfig
from gairlib.data.dataset import Dataset
from research.pipeline import notebook, stages
from research.tasks import inventory, registry

PARTS = ("scenes", "street", "street.csv", "tables", "eurosat_rgb")
QUICK = ((), ("tables",), ("street", "street.csv"))  # those of a minute; the others are slow
SUBSETS = [s for n in range(len(PARTS) + 1) for s in itertools.combinations(PARTS, n)]


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    folder = shutil.copytree(tiny, tmp_path_factory.mktemp("whole") / "whole")
    for name, colour in (("Forest", (40, 90, 50)), ("River", (60, 80, 120))):
        (folder / "eurosat_rgb" / name).mkdir(parents=True)
        for k in range(12):
            Image.new("RGB", (64, 64), colour).save(folder / f"eurosat_rgb/{name}/{k}.jpg")
    return folder


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("subset", SUBSETS, ids=lambda s: "+".join(s) or "nothing")
def test_every_subset_of_parts_is_prepared(whole, project, tmp_path, monkeypatch, subset):
    folder = tmp_path / "folder"
    folder.mkdir()
    for part in subset:
        (folder / part).symlink_to(whole / part)
    monkeypatch.setattr(stages, "run_dvc", lambda *_: None)
    run = stages.prepare(folder, "-".join(subset) or "nothing", root=project)
    tasks = yaml.safe_load((run / "params.yaml").read_text())["tasks"]
    listed = yaml.safe_load((run / "dvc.yaml").read_text())["stages"]
    assert ("benchmark" in listed) == bool(tasks)
    assert any("eurosat" in t for t in tasks) == ("eurosat_rgb" in subset)
    assert any(t.startswith("location-") for t in tasks) == ("tables" in subset)
    pairs = {"scenes", "street", "street.csv"} <= set(subset)
    assert ("retrieval" in tasks) == pairs
    dataset = Dataset(folder)
    photos = {"street", "street.csv"} <= set(subset)
    used = photos or set(subset) & {"scenes", "tables", "eurosat_rgb"}
    assert bool(inventory.nothing(dataset)) == (not used)
    for name, why in registry.available(dataset).items():
        assert name not in tasks or why is None


@pytest.fixture(scope="module")
def checkpoint(project):
    """The weights of the sample's run, which a folder with too few pairs takes as they are."""
    model = GAIR(GAIRConfig.preset("small", **SMALL["model"]["changes"]))
    model.save_pretrained(project / "outputs/pretrain/model")
    return "../../outputs/pretrain/model"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "subset",
    [pytest.param(s, marks=[] if s in QUICK else pytest.mark.slow) for s in SUBSETS],
    ids=lambda s: "+".join(s) or "nothing",
)
def test_every_subset_of_parts_ends_in_a_report(whole, project, checkpoint, tmp_path, subset):
    """Every stage, as DVC would run it; the index page says what was there and why not the rest."""
    folder, name = tmp_path / "folder", "run-" + ("-".join(subset) or "nothing")
    folder.mkdir()
    for part in subset:
        (folder / part).symlink_to(whole / part)
    (project / "runs" / name).mkdir(parents=True)
    fast = {k: v for k, v in SMALL.items() if k != "tasks"}
    fast["pretrain"] = fast["pretrain"] | {"init": checkpoint}
    (project / "runs" / name / "params.local.yaml").write_text(yaml.safe_dump(fast))
    run = stages.prepare(folder, name, root=project)
    pages = in_process.repro(run)
    assert all(page.is_file() for page in pages.values())
    index = (run / "reports/index.html").read_text()
    dataset = Dataset(folder)
    assert ("nothing that can be used" in index) == bool(inventory.nothing(dataset))
    for task, why in registry.available(dataset).items():
        assert why is None or why in html.unescape(index), task
    if not dataset.scenes():
        assert "no usable scene" in index and "No map" in (run / "reports/map.html").read_text()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_table_of_photos_that_cannot_be_read_ends_in_a_report(
    whole, project, checkpoint, tmp_path
):
    folder, name = tmp_path / "folder", "run-refused"
    folder.mkdir()
    (folder / "street").symlink_to(whole / "street")
    (folder / "street.tsv").write_text("fid\tX\tY\n1\t7.4\t46.9\n")
    (folder / "dataset.json").write_text("{")
    (project / "runs" / name).mkdir(parents=True)
    local = {"pretrain": {"init": checkpoint}, "model": SMALL["model"]}
    (project / "runs" / name / "params.local.yaml").write_text(yaml.safe_dump(local))
    run = stages.prepare(folder, name, root=project)
    in_process.repro(run)
    index = html.unescape((run / "reports/index.html").read_text())
    assert "refused: street.tsv: lacks the columns photo_id, path, lon, lat" in index
    assert "dataset.json: not valid JSON" in index and "Skipped" in index


def test_one_neighbourhood_gets_smaller_blocks_and_one_spot_a_reason(tiny, tmp_path):
    folder = shutil.copytree(tiny, tmp_path / "quarter")
    street = pd.read_csv(folder / "street.csv")
    street = street[street["site"] == "bern"].drop(columns=["site", "split"])
    street = pd.concat([street, street.assign(photo_id=street["photo_id"] + "b")])
    street.to_csv(folder / "street.csv", index=False)
    dataset = Dataset(folder)
    task = registry.get("sv-green_view", dataset)
    assert task.available(dataset) is None
    data = task.load(dataset)
    assert "0.002° block" in data.cluster and any("other cities" in n for n in data.notes)
    for scheme in data.schemes:
        assert len(scheme.folds(0)) > 1
    street.assign(lon=8.5, lat=47.3).to_csv(folder / "street.csv", index=False)
    spot = Dataset(folder)
    assert "nothing can be held out" in registry.available(spot)["sv-green_view"]
    assert "sv-green_view" not in [t.name for t in registry.default_for(spot)]


def test_a_stage_with_nothing_to_do_is_skipped_and_its_page_says_why(tmp_path, monkeypatch):
    cells = [
        nbformat.v4.new_markdown_cell("# A question"),
        nbformat.v4.new_code_cell('out = "o"\nmetrics = "m/stage.json"'),
        nbformat.v4.new_code_cell(
            "from gairlib.errors import Skipped\nprint('so far')\nraise Skipped('no scene here')"
        ),
        nbformat.v4.new_markdown_cell("## Never"),
        nbformat.v4.new_code_cell("print('never')"),
    ]
    cells[1].metadata["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "stage.ipynb")
    monkeypatch.chdir(tmp_path)
    assert notebook.main(["stage.ipynb", "--html", "reports/stage.html"]) == 0
    page = (tmp_path / "reports/stage.html").read_text()
    assert "no scene here" in page and "so far" in page
    assert "Never" not in page and "Traceback" not in page
    assert json.loads((tmp_path / "m/stage.json").read_text())["skipped"] == "no scene here"
    assert (tmp_path / "o/skipped.json").exists()
    assert not (tmp_path / "reports/stage.failed.ipynb").exists()


def test_a_table_of_the_data_is_text():
    frame = pd.DataFrame({"photo_id": ["<img src=x onerror=window.hit=1>", "</table><h1>b"]})
    text = notebook.table(frame).data
    assert "<img" not in text and "<h1>" not in text and "&lt;img src=x" in text

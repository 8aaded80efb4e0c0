"""`make bench-all` lists all that a folder can run, and leaves the sample's weights alone."""

import shutil
from pathlib import Path

import pytest
import yaml

from gairlib.data.dataset import Dataset
from gairlib.location.registry import names
from research.pipeline import bench_all
from research.studies import block_sizes
from research.tasks import registry

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def root(tmp_path_factory, tiny):
    root = tmp_path_factory.mktemp("project")
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, root)
    for name in ("notebooks", "gairlib"):
        (root / name).symlink_to(ROOT / name)
    (root / "outputs").mkdir()
    (root / "outputs/sites").symlink_to(tiny)
    return root


@pytest.mark.parametrize("own", [False, True])
def test_parameters_of_everything(root, tiny, tmp_path, own):
    folder = shutil.copytree(tiny, tmp_path / "mine") if own else None
    run = bench_all.prepare(folder, root=root)
    assert run == root / "runs" / ("mine-all" if own else "sample-all")
    params = yaml.safe_load((run / "params.yaml").read_text())
    able = {name for name, why in registry.available(Dataset(tiny)).items() if not why}
    assert set(params["tasks"]) == able and "location-warmth-warmth" in able
    assert params["benchmark"]["block_degrees"] == [2.0, 10.0, 20.0]
    assert params["benchmark"]["location_encoders"] == names()
    assert params["coordbench"]["block_degrees"] == list(block_sizes.SIZES)
    # the sample is judged by the weights that are there; a folder of one's own may be trained on
    assert (params["pretrain"]["min_pairs"] == bench_all.NEVER) != own


@pytest.mark.parametrize("own", [False, True])
def test_the_samples_rivals_are_kept_in_the_root_and_a_folders_own_in_its_run(
    root, tiny, tmp_path, monkeypatch, own
):
    def make(dataset, tasks, options, views, folder, segmentation):
        assert views == "as pretraining" and options.pairs == run / "outputs/pair"
        folder.mkdir(parents=True)
        (folder / f"{dataset.name}.json").write_text("{}")
        return tasks[:1]

    folder = shutil.copytree(tiny, tmp_path / "theirs") if own else None
    run = bench_all.prepare(folder, root=root)
    params = yaml.safe_load((run / "params.yaml").read_text())
    params["data"]["folder"] = str(folder or root / "outputs/sites")
    monkeypatch.setattr(bench_all.stages, "run_dvc", lambda *arguments: None)
    monkeypatch.setattr(bench_all.rivals, "make", make)
    monkeypatch.setattr(bench_all.rivals.Views, "of", lambda pretrain, pairs: "as pretraining")
    assert bench_all.train_rivals(run, params, root) == params["tasks"][:1]
    assert len(list((run / "metrics/rivals").glob("*.json"))) == 1
    assert (root / "metrics/rivals").is_dir() or own
    if own:
        assert not list(root.glob("metrics/rivals/theirs*.json"))


def test_seconds_are_those_of_the_records(tmp_path):
    (tmp_path / "logs/reports").mkdir(parents=True)
    (tmp_path / "logs/reports/60-a.json").write_text('{"seconds": 12.5}')
    (tmp_path / "logs/reports/60-b.json").write_text("{}")
    assert bench_all.stage_seconds(tmp_path) == {"60-a": 12.5}

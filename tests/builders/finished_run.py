"""Fixtures: every stage of the pipeline, run once on the tiny dataset."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from builders.small_run import SMALL

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The parts of the repository that a run reads."""
    root = tmp_path_factory.mktemp("project")
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, root)
    (root / "metrics").mkdir()
    for name in ("notebooks", "gairlib", "research", "metrics/rivals", "metrics/upper_bounds"):
        (root / name).symlink_to(ROOT / name)
    return root


@pytest.fixture(scope="module")
def sited(tiny, tmp_path_factory):
    """The tiny dataset with six validation sites: fewer than five support no interval."""
    folder = tmp_path_factory.mktemp("sited") / "tiny"
    shutil.copytree(tiny, folder)
    street = pd.read_csv(folder / "street.csv")
    quito = street["site"] == "quito"
    street.loc[quito, "site"] = [f"quito-{i % 6}" for i in range(quito.sum())]
    street.to_csv(folder / "street.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def run(project, sited):
    from research.pipeline import stages  # seconds and memory that only this fixture needs

    folder = project / "runs/tiny"
    folder.mkdir(parents=True)
    (folder / "params.local.yaml").write_text(yaml.safe_dump(SMALL))
    run = stages.prepare(sited, root=project)
    stages.run_dvc(run, "repro")
    return run

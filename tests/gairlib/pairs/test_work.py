"""Pairing in chunks, by tasks, interrupted and over clusters: always the same bytes."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from builders.small_photos import SMALL, table, write_three_scenes

from gairlib.errors import BadInput
from gairlib.pairs import placement
from gairlib.pairs.input import DOUBLE
from gairlib.pairs.pairing import pair
from gairlib.pairs.work import Pool


def many_photos(n=150) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    column = np.concatenate([rng.uniform(0, 192, n), 4000 + rng.uniform(0, 128, n // 3), [900.0]])
    row = rng.uniform(0, 128, len(column))
    return table(column, row, heading=rng.uniform(0, 360, len(column)))


def digest(folder: Path) -> dict[str, str]:
    """Every file below a folder, by content."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_chunks_and_order_of_scenes_change_nothing(three, tmp_path):
    street = many_photos()
    pair(street, three, folder=tmp_path / "one", **SMALL)
    pair(street, three[::-1], folder=tmp_path / "many", rows=17, workers=3, **SMALL)
    one, many = digest(tmp_path / "one"), digest(tmp_path / "many")
    assert one == many and any("pairs.zarr" in name for name in one)
    assert not (tmp_path / "one.work").exists()


def test_a_table_on_disk_gives_what_the_same_table_in_memory_gives(three, tmp_path):
    street = many_photos().assign(captured_at=None, is_spherical=False)
    street.to_csv(tmp_path / "street.csv", index=False)
    bad = "x,a.jpg,nan,1\ny,a.jpg,1,\np003,a.jpg,{},{}\nz,../a.jpg,1,1\n".format(
        *street.loc[7, ["lon", "lat"]]
    )
    lines = (tmp_path / "street.csv").read_text()
    short = street[["photo_id", "path", "lon", "lat"]].to_csv(index=False)
    (tmp_path / "street.csv").write_text(short + bad)
    assert lines
    inside = pair(street.drop(columns="heading"), three, **SMALL)
    read = pair(tmp_path / "street.csv", three, folder=tmp_path / "out", rows=40, **SMALL)
    same = ["photo_id", "x", "y", "chip", "split"]
    pd.testing.assert_frame_equal(read.manifest[same], inside.manifest[same])
    why = read.rejected.set_index("photo_id")["reason"]
    assert why["p003"] == DOUBLE and "numbers in degrees" in why["x"]
    assert "leaves the dataset folder" in why["z"]
    report = read.report
    assert report["photos_in"] == len(street) + 4
    assert report["photos_in"] == report["paired"] + sum(report["rejected"].values())


SCRIPT = """
import sys
from pathlib import Path
import pandas as pd
from gairlib.data import scenes
from gairlib.pairs.pairing import pair
folder = Path(sys.argv[1])
made = [scenes.open_scene(p, row={"processing_baseline": "3.0"})
        for p in sorted(folder.glob("*.tif"))]
pair(folder / "street.parquet", made, folder=folder / "killed", rows=40, workers=1,
             chip_px=32, chip_m=320.0, repeats_train=4, max_photos=2, progress=False)
"""


def test_killed_and_started_again_the_result_is_the_same_to_the_byte(tmp_path):
    made = write_three_scenes(tmp_path)
    many_photos().to_parquet(tmp_path / "street.parquet")
    more = {"repeats_train": 4, "max_photos": 2, "rows": 40}
    pair(tmp_path / "street.parquet", made, folder=tmp_path / "calm", **more, **SMALL)
    (tmp_path / "run.py").write_text(SCRIPT)
    root = Path(__file__).resolve().parents[3]
    run = [sys.executable, str(tmp_path / "run.py"), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    work = tmp_path / "killed.work"
    last = len(placement.NAMED) - 1  # the training split is paired last
    for reached in ("rejected/in-000001.parquet", f"parts/{last}-000-*/paired"):
        process = subprocess.Popen(run, env=environment)
        while process.poll() is None and not list(work.glob(reached)):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL  # in the middle of it, not after
    assert list(work.rglob("*.parquet"))
    subprocess.run(run, check=True, env=environment, capture_output=True)
    assert not work.exists()
    assert digest(tmp_path / "killed") == digest(tmp_path / "calm")


def test_work_of_other_input_is_not_gone_on_with(three, tmp_path):
    work = tmp_path / "work"
    (work / "parts").mkdir(parents=True)
    (work / "fingerprint").write_text("of another table")
    (work / "parts/9-000-000000-000000").mkdir()
    pairs = pair(many_photos(30), three, folder=tmp_path / "out", work=work, **SMALL)
    assert pairs.report["paired"] == 40
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("precious")
    with pytest.raises(BadInput, match="mine"):
        pair(many_photos(30), three, folder=tmp_path / "o", work=tmp_path / "mine", **SMALL)
    assert (tmp_path / "mine/thesis.txt").read_text() == "precious"


def test_a_cluster_by_its_address_gives_the_same(three, tmp_path):
    distributed = pytest.importorskip("distributed")
    street = many_photos(60)
    pair(street, three, folder=tmp_path / "here", **SMALL)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None, protocol="tcp"
    ) as cluster:
        pair(street, three, folder=tmp_path / "there", scheduler=cluster.scheduler_address, **SMALL)
    assert digest(tmp_path / "here") == digest(tmp_path / "there")


def test_a_scheduler_that_is_not_one_is_refused():
    with pytest.raises(BadInput, match="'thread'.*tcp://"):
        Pool("thread")


def test_pool_hands_every_task_over_once_and_raises_what_a_task_raises():
    with Pool(workers=2) as pool:
        assert sorted(pool.map(divmod, ((n, 7) for n in range(100)))) == [
            divmod(n, 7) for n in range(100)
        ]
        with pytest.raises(ZeroDivisionError):
            list(pool.map(divmod, [(1, 0)]))

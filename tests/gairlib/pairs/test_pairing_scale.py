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
from builders.small_files import ORIGIN, ramp, write_photo, write_scene
from builders.small_photos import SMALL, chip_outline, random_table, table

from gairlib.data import scenes
from gairlib.data.scene import Scene
from gairlib.errors import BadInput
from gairlib.pairs import shuffle
from gairlib.pairs.input import DOUBLE, count_reasons
from gairlib.pairs.pairing import pair
from gairlib.pairs.placement import near_duplicates
from gairlib.pairs.work import Pool


def write_three_scenes(folder: Path) -> list[Scene]:
    """Two scenes that overlap by half, and one apart."""
    made = []
    for name, shift in (("a", 0), ("b", 640), ("c", 40_000)):
        path = folder / f"{name}.tif"
        write_scene(path, ramp(10, 128, 128), origin=(ORIGIN[0] + shift, ORIGIN[1]))
        made.append(scenes.open_scene(path, row={"processing_baseline": "3.0"}))
    return made


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    return write_three_scenes(tmp_path_factory.mktemp("scenes"))


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
    for reached in ("rejected/in-000001.parquet", "parts/2-000-*/paired"):
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
    with pytest.raises(BadInput, match="not a pairing's unfinished work"):
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


def test_nearest_scene_in_time_then_the_clearest(tmp_path):
    def make(name, when, cloud):
        path = write_scene(tmp_path / f"{name}.tif", ramp(10, 64, 64))
        row = {"processing_baseline": "3.0", "cloud_cover": cloud, "datetime": when}
        return scenes.open_scene(path, row=row)

    made = [
        make("may", "2021-05-03T10:00:00Z", "40"),
        make("july", "2021-07-01T10:00:00Z", "1"),
        make("undated", None, "0"),
    ]
    street = table(
        [30, 31, 32],
        [30, 31, 32],
        captured_at=[
            "2021-05-20T08:00:00Z",
            None,
            str(int(pd.Timestamp("2021-06-28", tz="UTC").value // 10**6)),
        ],
    )
    manifest = pair(street, made, **SMALL).manifest.set_index("photo_id")
    assert manifest["scene_id"].to_dict() == {"p000": "may", "p001": "undated", "p002": "july"}
    assert manifest.loc["p000", "date_gap_days"] == pytest.approx(16 + 22 / 24)
    assert np.isnan(manifest.loc["p001", "date_gap_days"])


def test_buffer_between_splits(three):
    street = random_table(250, size=(128, 128))
    column, _ = three[0].to_pixels(street["lon"].to_numpy(), street["lat"].to_numpy())
    street["split"] = np.where(column < 50, "test", "train")
    pairs = pair(street, three[:1], split_buffer_m=150.0, **SMALL)
    shapes = [chip_outline(pairs.chips, i) for i in range(pairs.chips.sizes["chip"])]
    split = pairs.chips["split"].values
    gaps = [
        a.distance(b)
        for a, s in zip(shapes, split)
        for b, t in zip(shapes, split)
        if s == "test" and t == "train"
    ]
    assert 150.0 <= min(gaps) < 250.0


def test_photos_on_one_spot_in_one_direction_are_found(three):
    street = table([30, 30.05, 30, 30, 60], [30] * 5, heading=[10.0, 4.0, 60.0, np.nan, 10.0])
    kept = pair(street, three[:1], **SMALL)
    assert kept.report["near_duplicates"] == 1 and kept.report["paired"] == 5
    manifest = kept.manifest.set_index("photo_id")
    assert manifest["near_duplicate_of"].dropna().to_dict() == {"p001": "p000"}
    dropped = pair(street, three[:1], near_duplicates="drop", **SMALL)
    assert dropped.report["rejected"] == {"near-duplicate of another photo, dropped by option": 1}


def test_near_duplicates_against_trying_every_pair():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 25, (2, 200))
    heading = np.where(rng.random(200) < 0.2, np.nan, rng.integers(0, 8, 200) * 6.0)
    found = near_duplicates(x, y, heading)
    standing = []
    for k in range(200):
        alike = [
            i
            for i in standing
            if np.hypot(x[i] - x[k], y[i] - y[k]) <= 2
            and (
                abs((heading[i] - heading[k] + 180) % 360 - 180) <= 10
                or (np.isnan(heading[i]) and np.isnan(heading[k]))
            )
        ]
        assert found[k] == (alike[0] if alike else -1)
        standing += [] if alike else [k]
    assert (found >= 0).any()


def test_photos_are_checked_and_stored(three, tmp_path):
    for i in range(3):
        write_photo(tmp_path / f"{i}.jpg", (64, 32), seed=i)
    good = (tmp_path / "0.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(good[: len(good) // 2])
    (tmp_path / "none.jpg").write_bytes(b"")
    street = table([20, 40, 60, 80, 100, 30], [50] * 6, is_spherical=[False, True] + [False] * 4)
    street["path"] = ["0.jpg", "1.jpg", "2.jpg", "cut.jpg", "none.jpg", "gone.jpg"]
    pairs = pair(street, three[:1], photos_root=tmp_path, **SMALL)
    why = pairs.rejected.set_index("photo_id")["reason"]
    assert set(why.index) == {"p003", "p004", "p005"}
    assert why["p004"] == "none.jpg: the file is empty (0 bytes)"
    assert "damaged or cut short" in why["p003"] and "no such photo" in why["p005"]
    assert len(pairs.report["rejected"]) == 3
    manifest = pairs.manifest
    assert len(manifest) == 6 and manifest["photo"].nunique() == 6
    assert sorted(manifest["photo"]) == list(range(6))


@pytest.mark.parametrize("crowd, bucket", [(10**9, 10**9), (5, 10**9), (10**9, 9), (5, 9)])
def test_shuffle_brings_every_row_to_its_scene_once(tmp_path, crowd, bucket):
    rng = np.random.default_rng(1)
    files, expected = [], {}
    for number in range(3):
        candidates = [list(rng.permutation(5)[: rng.integers(1, 4)]) for _ in range(20)]
        rows = np.arange(20) + 20 * number
        frame = pd.DataFrame(
            {
                "_row": rows,
                "lon": rng.uniform(0, 0.3, 20),
                "lat": rng.uniform(0, 0.3, 20),
                "_candidates": candidates,
            }
        )
        frame["_candidates"] = frame["_candidates"].map(lambda c: np.array(c, np.int32))
        files.append(tmp_path / f"{number}.parquet")
        frame.to_parquet(files[-1])
        expected |= {r: c[1] for r, c in zip(rows, candidates) if len(c) > 1 and r not in (3, 41)}
    groups = list(
        shuffle.by_scene(files, 1, np.array([3, 41]), tmp_path / "s", crowd=crowd, bucket=bucket)
    )
    got = {r: scene for scene, _, frame in groups for r in frame["_row"]}
    assert got == expected and sum(len(f) for *_, f in groups) == len(expected)
    assert len({(s, t) for s, t, _ in groups}) == len(groups)
    for _, tile, frame in groups:  # photos of a tile lie within 0.1 degrees
        if tile:
            assert np.ptp(frame["lon"]) <= 0.1 and np.ptp(frame["lat"]) <= 0.1
    assert not (tmp_path / "s").exists()


def test_reasons_are_counted_by_kind():
    reasons = pd.Series(
        [
            "lon 200.1, lat 3.0: not a position; lon is in [-180, 180], lat in [-90, 90]",
            "lon 9, lat 99.0: not a position; lon is in [-180, 180], lat in [-90, 90]",
            "street/a.jpg: the image is damaged or cut short (4 bytes)",
            "street/b.jpg: the image is damaged or cut short (9 bytes)",
            "path '../x' leaves the folder",
            "path '/y' leaves the folder",
        ]
    )
    assert count_reasons(reasons) == {
        "not a position; lon is in [-180, 180], lat in [-90, 90]": 2,
        "the image is damaged or cut short": 2,
        "path '...' leaves the folder": 2,
    }

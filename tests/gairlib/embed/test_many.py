"""Many scenes and photos: the same rows as in memory, whoever shares the work, killed or not."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest

from gairlib.embed import export, geoparquet, many
from gairlib.embed.ahead import ahead
from gairlib.errors import BadInput

CHIP = dict(chip_px=32, chip_m=320.0)
QUIET = dict(progress=False)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rows(frame, key):
    return frame.sort_values(key, kind="stable").reset_index(drop=True)


@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize("kind", ["chips", "photos", "places"])
def test_parts_give_the_rows_of_the_whole(embedded, tmp_path, monkeypatch, kind, features):
    """Parts of whole batches give equal bits where the order of the rows is that of the table."""
    model, dataset, folder = embedded
    monkeypatch.setattr(export, "ROWS", 64)
    monkeypatch.setattr(many, "ROWS", 64)
    options = {"features": features, **(CHIP if kind == "chips" else {})}
    path = getattr(many, f"write_{kind}")(
        model, dataset, tmp_path / "x.parquet", **options, **QUIET
    )
    found = gpd.read_parquet(path)
    source = dataset.street() if kind == "places" else dataset
    want = getattr(export, kind)(model, source, **options)
    key = "chip_id" if kind == "chips" else "photo_id"
    found, want = rows(found, key), rows(want, key)
    assert found[key].to_list() == want[key].to_list()
    assert found.geometry.geom_equals(want.geometry).all()
    for column in ("embedding", "features")[: 1 + features]:
        a, b = (np.stack(frame[column].to_list()) for frame in (found, want))
        np.testing.assert_allclose(a, b, atol=2e-6)
        assert a.dtype == np.float32
    alike = export.about(folder / f"{kind}.parquet")
    about = export.about(path)
    for name in (
        "weights_sha256",
        "kind",
        "dim",
        "dataset",
        "synthetic",
        "licence_of_data",
        "date",
    ):
        assert about[name] == alike[name], name
    assert not list(tmp_path.glob("*.parts"))


def test_one_file_whoever_shares_the_scenes(embedded, tmp_path):
    distributed = pytest.importorskip("distributed")
    model, dataset, _ = embedded
    one = many.write_chips(model, dataset, tmp_path / "one.parquet", **CHIP, **QUIET)
    two = many.write_chips(model, dataset, tmp_path / "two.parquet", workers=2, **CHIP, **QUIET)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None, protocol="tcp"
    ) as cluster:
        far = dict(scheduler=cluster.scheduler_address, **QUIET)
        three = many.write_chips(model, dataset, tmp_path / "three.parquet", **CHIP, **far)
    assert digest(one) == digest(two) == digest(three)


KILLED = """
import sys, torch
from gairlib import GAIR
from gairlib.data.dataset import Dataset
from gairlib.embed import export, many
torch.set_num_threads(1)
export.ROWS = many.ROWS = export.BATCH = 4
model, dataset = GAIR.from_pretrained(sys.argv[1]), Dataset(sys.argv[2])
if sys.argv[4] == "photos":
    many.write_photos(model, dataset, sys.argv[3], progress=False)
else:
    many.write_chips(model, dataset, sys.argv[3], chip_px=32, chip_m=320.0, progress=False)
"""


@pytest.mark.parametrize(("kind", "parts"), [("chips", (2,)), ("photos", (1, 4))])
def test_killed_at_any_part_and_gone_on_with_the_same_bytes(embedded, tmp_path, kind, parts):
    _, dataset, folder = embedded
    path = tmp_path / "killed.parquet"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def run(target):
        arguments = [folder / "model", dataset.folder, target, kind]
        return [sys.executable, "-c", KILLED, *map(str, arguments)]

    subprocess.run(run(tmp_path / "calm.parquet"), check=True, env=environment, capture_output=True)
    for count in parts:
        process = subprocess.Popen(run(path), env=environment, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            if len(list(tmp_path.glob("killed.parquet.parts/0*.parquet"))) >= count:
                process.send_signal(signal.SIGSTOP)
                break
            time.sleep(0.001)
        process.kill()
        assert process.wait() == -signal.SIGKILL  # in the middle of it, not after
        left = sorted((tmp_path / "killed.parquet.parts").glob("0*.parquet"))
        left[0].write_bytes(left[0].read_bytes()[:-9])  # and a power cut took the end of one
    subprocess.run(run(path), check=True, env=environment, capture_output=True)
    assert digest(path) == digest(tmp_path / "calm.parquet")
    assert not list(tmp_path.glob("*.parts"))


def test_other_settings_start_anew_and_a_day_is_kept(embedded, tmp_path, monkeypatch):
    model, dataset, _ = embedded
    path = tmp_path / "x.parquet"

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(geoparquet, "writing", stop)
        patch.setattr(export, "today", lambda: "2020-02-02")
        many.write_chips(model, dataset, path, **CHIP, **QUIET)
    kept = list((tmp_path / "x.parquet.parts").glob("0*.parquet"))
    assert len(kept) == 3
    with monkeypatch.context() as patch:
        patch.setattr(export, "chip_rows", lambda *_, **__: iter(()))  # nothing is made again
        many.write_chips(model, dataset, path, **CHIP, **QUIET)
    assert export.about(path)["date"] == "2020-02-02"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(geoparquet, "writing", stop)
        many.write_chips(model, dataset, path, **CHIP, **QUIET)
    many.write_chips(model, dataset, path, chip_px=32, chip_m=640.0, **QUIET)
    assert (export.about(path)["chip_px"], export.about(path)["chip_m"]) == (32, 640.0)
    assert export.about(path)["date"] != "2020-02-02"


def test_scenes_need_ids_of_their_own(embedded, tmp_path):
    model, dataset, _ = embedded
    with pytest.raises(BadInput, match="'bern' stands 2 times"):
        many.write_chips(model, [dataset.scene("bern")] * 2, tmp_path / "x.parquet", **CHIP)
    empty = many.write_chips(model, [], tmp_path / "none.parquet", **CHIP, **QUIET)
    assert len(gpd.read_parquet(empty)) == 0 and export.about(empty)["dim"] is None


def test_geoparquet_as_the_community_asks(embedded):
    """Fixed-size lists, ZSTD, a covering that skips row groups, the curve, and key `emb`."""
    _, _, folder = embedded
    for kind in ("chips", "photos", "places"):
        path = folder / f"{kind}.parquet"
        file = pq.ParquetFile(path)
        assert str(file.schema_arrow.field("embedding").type).startswith("fixed_size_list")
        assert file.metadata.row_group(0).column(0).compression == "ZSTD"
        facts = {k: json.loads(file.schema_arrow.metadata[k]) for k in (b"geo", b"emb")}
        about = facts[b"geo"]["columns"]["geometry"]
        assert facts[b"geo"]["version"] == "1.1.0" and "bbox" in about["covering"]
        west, south, east, north = about["bbox"]
        frame = gpd.read_parquet(path)
        np.testing.assert_allclose([west, south, east, north], frame.total_bounds)
        assert "bbox" not in frame
        one = gpd.read_parquet(path, bbox=tuple(frame.geometry.iloc[0].bounds))
        assert 0 < len(one) < len(frame)
        box = frame.geometry.bounds
        along = geoparquet.hilbert((box.minx + box.maxx) / 2, (box.miny + box.maxy) / 2)
        assert (np.diff(along.astype(np.int64)) >= 0).all()
        assert facts[b"emb"]["emb:dimensions"] == 16
        assert facts[b"emb"].get("emb:type") == ("chip" if kind == "chips" else None)


def test_ahead_keeps_order_stays_bounded_and_raises_what_the_reader_raises():
    drawn = []

    def numbers():
        for n in range(20):
            drawn.append((n, threading.get_ident()))
            yield n

    found = ahead(numbers(), count=3)
    assert next(found) == 0
    time.sleep(0.05)
    assert len(drawn) == 4 and threading.get_ident() not in {who for _, who in drawn}
    assert list(found) == list(range(1, 20)) and len({who for _, who in drawn}) == 1

    def broken():
        yield 1
        raise BadInput("cut short")

    found = ahead(broken())
    assert next(found) == 1
    with pytest.raises(BadInput, match="cut short"):
        list(found)


def test_processes_of_torchrun_share_the_work_and_give_the_same_bytes(embedded, tmp_path):
    _, dataset, folder = embedded
    script = tmp_path / "embed.py"
    script.write_text(f"""
import os, sys
from gairlib import GAIR
from gairlib.data import Dataset
from gairlib.embed import export, many

out, save, rank = sys.argv[1], many.save, os.environ.get("RANK", "-")
many.ROWS = export.ROWS = 8

def noted(parts, group, *rest):
    with open(f"{{parts.parent}}/{{rank}}.txt", "a") as file:
        file.write(f"{{parts.name.split('.')[0]}} {{group}}\\n")
    save(parts, group, *rest)

many.save = noted
model, dataset = GAIR.from_pretrained({str(folder / "model")!r}), Dataset({str(dataset.folder)!r})
how = dict(device="cpu", progress=False)
many.write_photos(model, dataset, out + "/photos.parquet", **how)
many.write_chips(model, dataset, out + "/chips.parquet", chip_px=32, chip_m=320.0, **how)
""")
    by_two = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    written = []
    for name, how in (("one", []), ("two", by_two)):
        (tmp_path / name).mkdir()
        command = [sys.executable, *how, str(script), str(tmp_path / name)]
        subprocess.run(command, check=True, capture_output=True, timeout=240)
        kinds = ("photos", "chips")
        written.append([digest(tmp_path / name / f"{kind}.parquet") for kind in kinds])
        assert not list((tmp_path / name).glob("*.parts"))
    assert written[0] == written[1]
    alone, first, second = (
        set((tmp_path / name).read_text().splitlines())
        for name in ("one/-.txt", "two/0.txt", "two/1.txt")
    )
    assert first | second == alone and not first & second
    assert {line.split()[0] for line in second} == {"photos", "chips"}

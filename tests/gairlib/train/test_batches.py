"""Batches: pure functions of (seed, step), the same streamed as held in memory."""

import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from gairlib.data import photos
from gairlib.embed.encode import read_photos
from gairlib.errors import BadInput
from gairlib.pairs import store
from gairlib.train.batches import Buffers, PairBatches
from research.speed import batch_reading

PX, SIZE = 8, 24


def encoded(seed, orientation=None) -> bytes:
    values = np.random.default_rng(seed).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def paired(tmp_path_factory):
    """12 chips with 1 to 6 photos, most in two chips; every third photo is in the folder only."""
    folder = tmp_path_factory.mktemp("paired")
    (folder / "street").mkdir()
    rng, rows, stored, numbers = np.random.default_rng(0), [], [], {}
    for photo in range(20):
        (folder / f"street/{photo}.jpg").write_bytes(encoded(photo, 6 if photo == 4 else None))
    for chip in range(12):
        for slot in range(1 + chip % 6):
            photo = int(rng.integers(20))
            if photo % 3 and photo not in numbers:
                numbers[photo] = len(stored)
                stored.append(encoded(photo, 6 if photo == 4 else None))
            rows.append(
                {
                    "photo_id": f"p{photo}",
                    "chip": chip,
                    "slot": slot,
                    "x": rng.uniform(-1, 1),
                    "y": rng.uniform(-1, 1),
                    "path": f"street/{photo}.jpg",
                    "view_yaw": np.nan,
                    "heading": 17.0 * photo if photo % 5 else np.nan,
                    "lon": 7.0 + photo,
                    "lat": 46.0,
                    "split": "val" if chip > 8 else "train",
                    "scene_id": "s",
                    "repeat": 0,
                    "source_photo_id": f"p{photo}",
                    "photo": numbers.get(photo, -1),
                }
            )
    part = folder / "part"
    part.mkdir()
    np.save(part / "chips.npy", rng.integers(0, 10_000, (12, 10, PX, PX)).astype(np.uint16))
    pd.DataFrame(
        {
            "scene_id": "s",
            "split": "train",
            "crs": "EPSG:32632",
            "scene_datetime": None,
            "transform": [[10.0, 0, 5e5 + i, 0, -10, 5e6] for i in range(12)],
            "footprint": [[0.0] * 34] * 12,
            "repeat": 0,
            "lon": 7.0,
            "lat": 46.0,
            "cloud_share": 0.0,
            "nodata_share": 0.0,
            "scene_cloud": 0.0,
            "photos": 1,
        }
    ).to_parquet(part / "chips.parquet", index=False)
    pd.DataFrame(rows).to_parquet(part / "manifest.parquet", index=False)
    names = [f"p{photo}" for photo in numbers]
    pd.DataFrame({"photo_id": names, "bytes": [len(s) for s in stored]}).to_parquet(
        part / "photos.parquet", index=False
    )
    (part / "photos.bin").write_bytes(b"".join(stored))
    nobody = pd.DataFrame({"photo_id": [], "reason": []}, dtype=str)
    pairs = store.assemble(
        [part], folder / "pairs", chip_px=PX, report={"rejected": {}}, settings={}, rejected=nobody
    )
    return pairs, SimpleNamespace(folder=folder)


def make(paired, split="train", **options):
    settings = {"photo_size": SIZE, "chips_per_batch": 4, "photos_per_chip": 3, "seed": 5} | options
    return PairBatches(*paired, split=split, **settings)


def same(one, two):
    for name in ("chips", "photos", "xy", "lonlat", "heading", "valid", "side_m"):
        a, b = getattr(one, name), getattr(two, name)
        assert a.dtype == b.dtype and a.stride() == b.stride(), name
        np.testing.assert_array_equal(a, b, err_msg=name)  # nan where nan
    assert one.photo_ids == two.photo_ids


def test_against_a_plain_reading_of_the_definition(paired):
    """Oracle: chip by chip, with every photo read from its file."""
    pairs, dataset = paired
    rows = pairs.manifest[pairs.manifest["split"] == "train"]
    rows = rows.sort_values(["chip", "slot"], kind="stable").reset_index(drop=True)
    chip_ids = rows["chip"].unique()
    data = make(paired)
    for step in (0, 1, 5):
        batch, longest = data.batch(step), rows.groupby("chip").size().max()
        keys = np.random.default_rng((5, 2, step)).random((4, longest))
        ids = []
        for i in range(4):
            epoch, offset = divmod(step * 4 + i, len(chip_ids))
            chip = chip_ids[np.random.default_rng((5, 1, epoch)).permutation(len(chip_ids))[offset]]
            members = np.flatnonzero(rows["chip"] == chip)
            members = members[sorted(range(len(members)), key=lambda m: keys[i, m])[:3]]
            values = pairs.chips["chips"].values[chip].astype(np.float32)
            np.testing.assert_array_equal(batch.chips[i], values)
            assert batch.valid[i].tolist() == [q < len(members) for q in range(3)]
            for q, member in enumerate([*members, *[members[0]] * (3 - len(members))]):
                row = rows.iloc[member]
                photo = photos.load(dataset.folder / row["path"], size=SIZE)
                np.testing.assert_array_equal(batch.photos[i, q], photo.transpose(2, 0, 1))
                assert batch.xy[i, q].tolist() == [row["x"], row["y"]]
                assert batch.lonlat[i, q].tolist() == [row["lon"], row["lat"]]
                np.testing.assert_equal(batch.heading[i, q].item(), row["heading"])
            ids += rows["photo_id"].iloc[members].tolist()
        assert batch.photo_ids == ids


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("split", ["train", None])
def test_streaming_gives_the_same_batches(paired, split, workers):
    held = make(paired, split)
    streamed = make(paired, split, memory_bytes=0, workers=workers)
    assert streamed.streams and not held.streams
    assert len(held) == len(streamed) and held.chips == streamed.chips
    for step in (0, 1, 2, 3, 9, 3, 3, 2, 0, 100):  # on, back, again, far away
        same(held.batch(step), streamed.batch(step))
        assert len(streamed._ahead) <= workers  # nothing piles up


@pytest.mark.parametrize("memory_bytes", [0, 1 << 30])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_share_the_batch_of_one(paired, ranks, memory_bytes):
    settings = {"chips_per_batch": 8, "photos_per_chip": 4, "memory_bytes": memory_bytes}
    alone = make(paired, **settings)
    shares = [make(paired, share=(rank, ranks), **settings) for rank in range(ranks)]
    for step in (0, 3, 1):  # batches reach over the end of an epoch of 9 chips
        whole, parts = alone.batch(step), [s.batch(step) for s in shares]
        for name in ("chips", "photos", "xy", "lonlat", "heading", "valid", "side_m"):
            joined = torch.cat([getattr(p, name) for p in parts])
            np.testing.assert_array_equal(joined, getattr(whole, name), err_msg=name)
        assert sum((p.photo_ids for p in parts), []) == whole.photo_ids


def test_shares_that_do_not_fit_are_refused(paired):
    with pytest.raises(BadInput, match="chips_per_batch .4. is shared by 3 ranks"):
        make(paired, share=(0, 3))
    with pytest.raises(BadInput, match="0 <= rank < ranks"):
        make(paired, share=(2, 2))


def test_every_photo_of_a_chip_is_drawn_and_none_twice(paired):
    data, seen = make(paired, photos_per_chip=2), set()
    for step in range(60):
        batch = data.batch(step)
        ids = iter(batch.photo_ids)
        for chip, valid in zip(data.chips_of_step(step), batch.valid):
            rows = slice(data._start[chip], data._stop[chip])
            drawn = [next(ids) for _ in range(int(valid.sum()))]
            assert len(drawn) == min(2, rows.stop - rows.start)
            assert set(drawn) <= set(data._ids[rows])
            seen |= {(int(chip), photo) for photo in drawn}
    assert seen == set(
        zip(np.repeat(np.arange(data.chips), data._stop - data._start).tolist(), data._ids)
    )


def test_manifest_without_headings_gives_unknown_ones(paired):
    pairs, dataset = paired
    bare = store.Pairs(pairs.chips, pairs.manifest.drop(columns="heading"), {}, folder=pairs.folder)
    assert make((bare, dataset)).batch(0).heading.isnan().all()


def test_limit_of_memory_is_where_streaming_begins(paired):
    held = make(paired)
    need = held._photos.numel() + held._chips.nbytes
    assert not make(paired, memory_bytes=need).streams
    assert make(paired, memory_bytes=need - 1).streams


def test_stored_photos_are_read_from_the_store_and_others_from_files(paired):
    pairs, dataset = paired
    with pytest.raises(FileNotFoundError):  # photos that are not stored need their files
        make((pairs, SimpleNamespace(folder=dataset.folder / "elsewhere")))
    known = pairs.manifest[pairs.manifest["photo"] >= 0]
    only = store.Pairs(pairs.chips, known, {}, folder=pairs.folder)
    elsewhere = SimpleNamespace(folder=dataset.folder / "elsewhere")
    assert len(make((only, elsewhere))) == known.query("split == 'train'")["photo_id"].nunique()
    same(make((only, elsewhere)).batch(2), make((only, dataset), memory_bytes=0).batch(2))


def test_buffers_are_used_again_only_when_nothing_holds_them():
    buffers = Buffers()
    first = torch.from_numpy(buffers.take((4, 2), np.float32))
    part = first[1:3]  # a view of a tensor holds its storage
    at = first.data_ptr()
    del first
    second = buffers.take((4, 2), np.float32)
    assert second.ctypes.data != at
    del part
    third = buffers.take((4, 2), np.float32)
    assert third.ctypes.data == at and third.ctypes.data != second.ctypes.data
    assert buffers.take((4, 2), np.uint8).dtype == np.uint8
    assert buffers.take((2, 4), np.float32).shape == (2, 4)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_that_are_kept_stay_as_they_are(paired, workers):
    held, streamed = make(paired), make(paired, memory_bytes=0, workers=workers)
    kept = [streamed.batch(s) for s in range(6)]
    del kept[2]
    kept.append(streamed.batch(6))
    for step, batch in zip((0, 1, 3, 4, 5, 6), kept):
        same(held.batch(step), batch)


def test_an_error_in_a_later_batch_comes_with_that_batch(paired, tmp_path):
    pairs, _ = paired
    streamed = make((pairs, SimpleNamespace(folder=tmp_path)), memory_bytes=0, workers=2)
    failed = []
    for step in range(6):
        try:
            streamed.batch(step)
        except FileNotFoundError as problem:
            assert "street/" in str(problem)
            failed.append(step)
    assert failed  # and no hang; which steps is up to the photos that are drawn


def test_no_pairs_in_a_split_is_said(paired):
    with pytest.raises(BadInput, match="no pairs in split 'test'"):
        make(paired, "test")


def test_read_photos_reads_the_dataset_folder(paired):
    pairs, dataset = paired
    rows = pairs.manifest.drop_duplicates("photo_id")
    found = read_photos(dataset, rows, SIZE)
    assert found.is_contiguous() and found.shape == (len(rows), 3, SIZE, SIZE)
    for path, photo in zip(rows["path"], found):
        expected = photos.load(dataset.folder / path, size=SIZE).transpose(2, 0, 1)
        np.testing.assert_array_equal(photo, expected)


@pytest.mark.parametrize("orientation", [None, 3, 6])
@pytest.mark.parametrize("size", [24, 10])
def test_bytes_decode_as_the_file_does(tmp_path, orientation, size):
    data = encoded(1, orientation)
    (tmp_path / "a.jpg").write_bytes(data)
    expected = photos.load(tmp_path / "a.jpg", size=size)
    out = np.zeros((3, size, size), np.uint8)
    photos.decode_into(out, data)
    np.testing.assert_array_equal(out, expected.transpose(2, 0, 1))


def test_bytes_that_are_no_photo_are_refused_by_name():
    for data, match in (
        (b"", "empty"),
        (b"nonsense", "not readable as an image"),
        (encoded(1)[:-200], "damaged or cut short"),
    ):
        with pytest.raises(BadInput, match=f"stored photo 7: .*{match}"):
            photos.decode_into(np.zeros((3, 9, 9), np.uint8), data, "stored photo 7")


def test_palette_and_grey_pictures_become_rgb():
    picture = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    for mode in ("L", "P", "RGBA"):
        buffer = io.BytesIO()
        picture.convert(mode).save(buffer, "PNG")
        out = np.zeros((3, 16, 16), np.uint8)
        photos.decode_into(out, buffer.getvalue())
        np.testing.assert_array_equal(out, np.stack([np.asarray(picture)] * 3))


@pytest.mark.slow
def test_bench_runs():
    found = batch_reading.run(quick=True)
    assert found["photos"] == 512 and found["ratio"] > 0 and 5 < found["kb_per_photo"] < 25

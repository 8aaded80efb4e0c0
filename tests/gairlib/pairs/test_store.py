"""The pairs' store: the same bytes from the same parts, readable by anyone, whole or not there."""

import hashlib
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray as xr
import zarr

from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput, Missing
from gairlib.pairs import parts as part_files
from gairlib.pairs import photo_store, shards
from gairlib.pairs import store as pairs_store
from gairlib.pairs.pairing import pair

PX = 8
NOBODY = pd.DataFrame({"photo_id": [], "reason": []}, dtype=str)


def write_part(folder, chips, seed, *, stored=True, datetime="2023-05-01T10:00:00Z", **extra):
    """A part of `chips` chips with three photos each; every second photo stands in two chips."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    pixels = rng.integers(0, 10_000, (chips, 10, PX, PX)).astype(np.uint16)
    if chips > 1:
        pixels[1] = 0  # a chunk of zeros, which Zarr does not write
    np.save(folder / "chips.npy", pixels)
    pd.DataFrame(
        {
            "scene_id": f"scène-{seed}",
            "split": "train",
            "crs": "EPSG:32632",
            "scene_datetime": pd.Series([datetime] * chips, dtype=object),
            "transform": list(rng.normal(size=(chips, 6))),
            "footprint": list(rng.normal(size=(chips, 34))),
            "repeat": 0,
            "lon": rng.normal(size=chips),
            "lat": 1.5,
            "cloud_share": np.nan,
            "nodata_share": 0.0,
            "scene_cloud": 12.5,
            "photos": 3,
        }
    ).to_parquet(folder / "chips.parquet", index=False)
    n = 3 * chips
    number = np.arange(n) // 2
    ids = np.array([f"{seed}-{i}" for i in number], object)
    manifest = pd.DataFrame(
        {
            "photo_id": ids,
            "chip": np.arange(n) // 3,
            "slot": np.arange(n) % 3,
            "x": rng.uniform(-1, 1, n),
            "y": rng.uniform(-1, 1, n),
            "path": "a.jpg",
            "view_yaw": np.nan,
            "heading": np.nan,
            "lon": 1.0,
            "lat": 2.0,
            "split": "train",
            "scene_id": f"scène-{seed}",
            "repeat": 0,
            "source_photo_id": ids,
            "photo": number if stored else -1,
        }
    ).assign(**extra)
    manifest.to_parquet(folder / "manifest.parquet", index=False)
    if stored:
        sizes = rng.integers(1, 3000, number[-1] + 1)
        (folder / "photos.bin").write_bytes(rng.bytes(int(sizes.sum())))
        pd.DataFrame(
            {"photo_id": [f"{seed}-{i}" for i in range(len(sizes))], "bytes": sizes}
        ).to_parquet(folder / "photos.parquet", index=False)
    return folder


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    return [
        write_part(folder / "a", 5, 1, weather=None, count=1),
        write_part(folder / "b", 1, 2, weather="rain", count=1.5, datetime=None),
        write_part(folder / "c", 4, 3, stored=False, note="x"),
        write_part(folder / "d", 7, 4, weather=None),
    ]


@pytest.fixture()
def small(monkeypatch):
    """Shards and chunks so small that a few chips fill several."""
    monkeypatch.setattr(shards, "SHARD_BYTES", 4000)
    monkeypatch.setattr(photo_store, "INNER_BYTES", 700)
    monkeypatch.setattr(photo_store, "INDEX_ROWS", 4)
    monkeypatch.setattr(pairs_store, "ROWS", 3)
    monkeypatch.setattr(part_files, "GROUP_ROWS", 7)


def assemble(parts, folder, lost=NOBODY, **report):
    report = {"rejected": {}} | report
    return pairs_store.assemble(
        parts, folder, chip_px=PX, report=report, settings={"seed": 3}, rejected=lost
    )


def hashes(folder):
    return {
        str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in sorted(folder.rglob("*"))
        if f.is_file()
    }


def test_store_holds_what_the_parts_held(parts, small, tmp_path):
    pairs = assemble(parts, tmp_path / "pairs")
    pixels = np.concatenate([np.load(p / "chips.npy") for p in parts])
    about = pd.concat([pd.read_parquet(p / "chips.parquet") for p in parts])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a user who opens the store sees no warning
        store = xr.open_zarr(tmp_path / "pairs/pairs.zarr")
    assert zarr.open_group(tmp_path / "pairs/pairs.zarr", mode="r").metadata.zarr_format == 3
    assert store["chips"].dims == ("chip", "band", "y", "x") and store.attrs == {"seed": 3}
    np.testing.assert_array_equal(store["chips"].values, pixels)
    for name in ("scene_id", "split", "crs", "lon", "cloud_share", "photos", "repeat"):
        np.testing.assert_array_equal(store[name].values, about[name].to_numpy())
    np.testing.assert_array_equal(store["transform"].values, np.stack(about["transform"]))
    np.testing.assert_array_equal(
        store["footprint"].values.reshape(17, -1), np.stack(about["footprint"]).reshape(17, -1)
    )
    assert store["footprint"].shape == (17, part_files.CORNERS, 2)
    assert store["scene_datetime"].values[5] == "" and store["scene_datetime"].values[0] != ""
    for name in ("scene_id", "band"):  # text of a type that the format's documents describe
        kind = zarr.open_array(tmp_path / f"pairs/pairs.zarr/{name}", mode="r").metadata
        assert kind.to_dict()["data_type"] == "string"
    assert list(store["band"].values[:2]) == ["B02", "B03"]
    assert store["photo_id"].values[-1] == "4-10"
    np.testing.assert_array_equal(store["xy"].values, pairs.manifest[["x", "y"]])
    np.testing.assert_array_equal(store["pair_chip"].values, pairs.manifest["chip"])
    np.testing.assert_array_equal(store["pair_photo"].values, pairs.manifest["photo"])


def test_numbers_of_chips_and_photos_are_global(parts, small, tmp_path):
    pairs = assemble(parts, tmp_path / "pairs")
    manifest, photos = pairs.manifest, pairs.photos()
    assert list(manifest)[: len(pairs_store.MANIFEST)] == list(pairs_store.MANIFEST)
    scene = pairs.chips["scene_id"].values.astype(object)
    assert (scene[manifest["chip"]] == manifest["scene_id"]).all()
    known = manifest[manifest["photo"] >= 0]
    names = pairs.chips["photo_id"].values.astype(object)
    assert (names[known["photo"]] == known["photo_id"]).all()
    assert (manifest.loc[manifest["scene_id"] == "scène-3", "photo"] == -1).all()
    for part in parts:
        if not (part / "photos.bin").exists():
            continue
        data, table = (part / "photos.bin").read_bytes(), pd.read_parquet(part / "photos.parquet")
        for row, stop in zip(table.itertuples(), table["bytes"].cumsum()):
            number = int(np.flatnonzero(names == row.photo_id)[0])
            assert photos.encoded(number) == data[stop - row.bytes : stop]
    with pytest.raises(IndexError):
        photos.encoded(len(photos))
    with pytest.raises(IndexError):
        photos.encoded(-1)


def test_direct_reading_is_what_zarr_reads(parts, small, tmp_path):
    pairs = assemble(parts, tmp_path / "pairs")
    store = tmp_path / "pairs/pairs.zarr"
    direct = photo_store.Photos(pairs.chips, store)
    through = photo_store.Photos(pairs.chips, tmp_path / "laid out otherwise")
    assert direct.shards is not None and through.shards is None
    assert [direct.encoded(i) for i in range(len(direct))] == [
        through.encoded(i) for i in range(len(direct))
    ]
    order = np.random.default_rng(0).permutation(17)
    assert pairs._shards is not None
    np.testing.assert_array_equal(pairs.read_chips(order), pairs.chips["chips"].values[order])
    other = pairs_store.Pairs(pairs.chips, pairs.manifest, pairs.report, tmp_path / "elsewhere")
    np.testing.assert_array_equal(other.read_chips(order), pairs.read_chips(order))
    assert other.photos().encoded(3) == direct.encoded(3)


def test_damaged_shards_are_noticed(parts, small, tmp_path):
    assemble(parts, tmp_path / "pairs")
    folder = tmp_path / "pairs/pairs.zarr/photo_bytes"
    file = folder / "c/0"
    good = file.read_bytes()
    file.write_bytes(good[:-10] + bytes([good[-10] ^ 1]) + good[-9:])  # one bit of the index
    with pytest.raises(RuntimeError, match="(?i)crc|checksum"):
        shards.open_local(folder).span(0, 10)
    reader = shards.open_local(folder)
    file.write_bytes(good)
    reader.span(0, 10)
    file.write_bytes(good[:50])
    with pytest.raises(OSError, match="cut short"):
        reader.span(0, 600)


def test_same_parts_same_bytes_and_what_was_there_is_replaced(parts, small, tmp_path):
    assemble(parts, tmp_path / "one")
    first = hashes(tmp_path / "one")
    assemble(parts[:2], tmp_path / "two")
    (tmp_path / "two/figures").mkdir()
    (tmp_path / "two/figures/map.png").write_text("mine")
    assert hashes(tmp_path / "two") != first
    assemble([str(p) for p in parts], tmp_path / "two")
    assert (tmp_path / "two/figures/map.png").read_text() == "mine"  # not ours to delete
    shutil.rmtree(tmp_path / "two/figures")
    assert hashes(tmp_path / "two") == first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]


def test_how_rows_are_cut_into_parts_leaves_no_trace(parts, small, tmp_path):
    """Row groups, shards and chunks are filled in the same way from one big part."""
    whole = tmp_path / "whole"
    shutil.copytree(parts[0], whole)
    values, cut = np.load(whole / "chips.npy"), []
    table, manifest = (pd.read_parquet(whole / f"{n}.parquet") for n in ("chips", "manifest"))
    assert len(manifest) == 15 and manifest["photo"].iloc[-1] == 7
    for chips in ([0, 1], [2, 3], [4]):  # photos never straddle: 6 rows have 3 photos
        part = tmp_path / f"cut{chips[0]}"
        part.mkdir()
        np.save(part / "chips.npy", values[chips])
        table.iloc[chips].to_parquet(part / "chips.parquet", index=False)
        rows = manifest[manifest["chip"].isin(chips)]
        low, high = rows["photo"].min(), rows["photo"].max() + 1
        rows.assign(chip=rows["chip"] - chips[0], photo=rows["photo"] - low).to_parquet(
            part / "manifest.parquet", index=False
        )
        sizes = pd.read_parquet(whole / "photos.parquet")
        ends = sizes["bytes"].cumsum().to_numpy()
        begin = ends[low] - sizes["bytes"][low]
        (part / "photos.bin").write_bytes(
            (whole / "photos.bin").read_bytes()[begin : ends[high - 1]]
        )
        sizes.iloc[low:high].to_parquet(part / "photos.parquet", index=False)
        cut.append(part)
    assemble([whole], tmp_path / "one")
    assemble(cut, tmp_path / "many")
    assert hashes(tmp_path / "one") == hashes(tmp_path / "many")


def test_no_part_at_all_is_a_valid_store(tmp_path):
    pairs = assemble([], tmp_path / "pairs")
    assert pairs.chips["chips"].shape == (0, 10, PX, PX) and len(pairs.manifest) == 0
    assert list(pairs.manifest) == list(pairs_store.MANIFEST) and pairs.photos() is None
    assert pairs.chips["scene_id"].values.shape == (0,) and len(pairs.rejected) == 0
    assert pairs.read_chips(np.array([], int)).shape == (0, 10, PX, PX)


def test_rejected_rows_as_a_table_or_a_file(parts, tmp_path):
    lost = pd.DataFrame({"photo_id": ["a", None], "reason": ["far", "no id"]})
    counts = {"photos_in": 5, "paired": 3, "rejected": {"far": 1, "no id": 1}}
    pairs = assemble(parts[:1], tmp_path / "one", lost, **counts)
    lost.to_parquet(tmp_path / "lost.parquet", index=False)
    again = assemble(parts[:1], tmp_path / "two", tmp_path / "lost.parquet", **counts)
    for found in (pairs, again):
        assert found.rejected["photo_id"].isna().tolist() == [False, True]
        assert found.rejected["reason"].tolist() == ["far", "no id"]
        assert found.report["rejected"] == {"far": 1, "no id": 1}
    with pytest.raises(BadInput, match="2 .* 0 "):
        assemble(parts[:1], tmp_path / "one", **counts)
    assert pairs_store.load(tmp_path / "one").report == counts  # as it was before


@pytest.mark.parametrize(
    "wrong",
    [
        ({"photos_in": 4, "paired": 3}, "photos_in is not paired plus rejected"),
        ({"chips": 4}, "4 chips, but the parts hold 5"),
        ({"pairs": 4}, "4 pairs, but the parts hold 15"),
    ],
)
def test_a_report_that_does_not_add_up_is_refused(parts, tmp_path, wrong):
    with pytest.raises(BadInput, match=wrong[1]):
        assemble(parts[:1], tmp_path / "pairs", **wrong[0])
    assert list(tmp_path.iterdir()) == []


def damage_manifest(part, **columns):
    frame = pd.read_parquet(part / "manifest.parquet")
    frame.assign(**columns).to_parquet(part / "manifest.parquet", index=False)


@pytest.mark.parametrize(
    "damage, match",
    [
        (lambda p: (p / "chips.npy").unlink(), "chips.npy: not there"),
        (lambda p: np.save(p / "chips.npy", np.zeros((5, 10, PX, PX), np.int32)), "is int32"),
        (lambda p: np.save(p / "chips.npy", np.zeros((4, 10, PX, PX), np.uint16)), "5 chips"),
        (
            lambda p: np.save(p / "chips.npy", np.zeros((5, 10, 9, 9), np.uint16)),
            r"\(10, 9, 9\), not",
        ),
        (lambda p: damage_manifest(p, chip=5), "names a chip that is not there"),
        (lambda p: damage_manifest(p, photo=8), "names a photo that is not there"),
        (lambda p: (p / "photos.bin").write_bytes(b"123"), "not as long as"),
        (
            lambda p: pd.DataFrame({"lon": [1.0] * 5}).to_parquet(p / "chips.parquet"),
            "lacks the col",
        ),
    ],
)
def test_a_damaged_part_is_named_and_leaves_nothing(parts, tmp_path, damage, match):
    part = tmp_path / "damaged"
    shutil.copytree(parts[0], part)
    damage(part)
    with pytest.raises((BadInput, Missing), match=match) as problem:
        assemble([parts[1], part], tmp_path / "pairs")
    assert "damaged" in str(problem.value)
    assert [p.name for p in tmp_path.iterdir()] == ["damaged"]


def test_a_killed_writing_is_no_store(parts, tmp_path):
    (tmp_path / ".pairs.writing/pairs.zarr").mkdir(parents=True)
    (tmp_path / ".pairs.writing/rubbish").write_text("half")
    with pytest.raises(Missing, match="pairs.zarr"):
        pairs_store.load(tmp_path / "pairs")
    assemble(parts[:1], tmp_path / "pairs")
    names = {p.name for p in (tmp_path / "pairs").iterdir()}
    assert names == {*pairs_store.FILES, "SHA256SUMS"}
    assert [p.name for p in tmp_path.iterdir()] == ["pairs"]
    (tmp_path / "pairs/report.json").unlink()
    with pytest.raises(Missing, match="report.json"):
        pairs_store.load(tmp_path / "pairs")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="file"):
        assemble([], tmp_path / "file")


def test_columns_that_differ_between_parts_find_one_type(parts, small, tmp_path):
    manifest = assemble(parts, tmp_path / "pairs").manifest
    by = manifest.groupby("scene_id")
    assert by["weather"].nunique().to_dict() == {f"scène-{i}": int(i == 2) for i in (1, 2, 3, 4)}
    assert by["count"].first().to_dict()["scène-1"] == 1.0 and manifest["count"].dtype == float
    assert manifest["note"].notna().sum() == 12
    groups = pq.ParquetFile(tmp_path / "pairs/manifest.parquet").metadata
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [7] * 7 + [2]


@pytest.mark.parametrize(
    "one, two, joined, values",
    [
        (pa.null(), pa.bool_(), pa.bool_(), [None, True]),
        (pa.int64(), pa.float64(), pa.float64(), [2**53 + 1, 0.5]),
        (pa.int64(), pa.string(), pa.string(), [7, "b"]),
        (pa.large_string(), pa.dictionary(pa.int8(), pa.string()), pa.string(), ["a", "b"]),
        (pa.list_(pa.int8()), pa.int64(), pa.string(), [[1], 3]),
    ],
)
def test_types_are_joined(tmp_path, one, two, joined, values):
    tables = [pa.table({"c": pa.array([v], t)}) for v, t in zip(values, (one, two))]
    schema = part_files.joined_schema([t.schema for t in tables], {})
    assert schema.field("c").type == joined
    with part_files.ManifestWriter(tmp_path / "a.parquet", schema) as file:
        for table in tables:
            file.add(table)
    back = pq.read_table(tmp_path / "a.parquet")["c"].to_pylist()
    if joined == pa.string():
        assert back == [str(v) for v in values]
    else:
        assert back[0] is None or back[0] == pytest.approx(values[0], rel=1e-15)
        assert back[1] == values[1]


def test_report_is_json(parts, tmp_path):
    assemble(parts[:1], tmp_path / "pairs", note="Zürich")
    assert "Zürich" in (tmp_path / "pairs/report.json").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "pairs/report.json").read_text())["note"] == "Zürich"


def test_sides_of_chips_in_metres():
    """UTM metres, a projected CRS in feet, and degrees at 60 degrees north."""
    side = 32
    transforms = [
        [10, 0, 5e5, 0, -10, 6e6],
        [32.808399, 0, 6e6, 0, -32.808399, 2e6],
        [2e-4, 0, 10, 0, -1e-4, 60],
    ]
    chips = xr.Dataset(
        {
            "chips": (("chip", "band", "y", "x"), np.zeros((3, 10, side, side), np.uint16)),
            "transform": (("chip", "affine"), np.array(transforms, float)),
            "crs": ("chip", np.array(["EPSG:32632", "EPSG:2227", "EPSG:4326"], object)),
            "lat": ("chip", np.array([54.0, 37.0, 60.0])),
        }
    )
    pairs = pairs_store.Pairs(chips, pd.DataFrame(), {}, Path())
    sides = pairs.sides_m(np.array([2, 0, 1]))
    assert sides == pytest.approx([32 * 1e-4 * 111_195, 320.0, 320.0], rel=1e-4)


def test_rows_of_other_splits_are_left_out(tiny, tmp_path):
    dataset = Dataset(tiny)
    pair(dataset.street(), dataset.scenes(), folder=tmp_path, progress=False)
    every = pairs_store.load(tmp_path)
    assert set(every.manifest["split"]) >= {"train", "test"}
    learning = pairs_store.load(tmp_path, pairs_store.LEARNING)
    assert not (learning.manifest["split"] == "test").any()
    kept = every.manifest[every.manifest["split"] != "test"].reset_index(drop=True)
    pd.testing.assert_frame_equal(learning.manifest, kept)
    names = learning.manifest["chip"].to_numpy()  # the numbers of chips stay
    splits = learning.chips["split"].to_numpy()[names]
    assert splits.tolist() == learning.manifest["split"].tolist()

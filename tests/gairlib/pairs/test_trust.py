"""A pairing that is killed, doubled, resumed with other inputs or left damaged; a damaged store."""

import gc
import shutil
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from builders.faults import Killed, operations
from builders.small_photos import SMALL, random_table, write_three_scenes
from PIL import Image

from gairlib import files
from gairlib.errors import BadInput, Missing
from gairlib.pairs import cut as cutting
from gairlib.pairs import pairing, store
from gairlib.pairs import work as works
from gairlib.pairs.pairing import pair
from gairlib.pairs.work import fingerprint

ALONE = {**SMALL, "scheduler": "synchronous"}


def photos(root: Path, n: int = 24, value: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(value)
    street = random_table(n).assign(path=[f"{i}.png" for i in range(n)])
    for name in street["path"]:
        pixels = rng.integers(0, 255, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(root / name)
    return street


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    return photos(root), root


@pytest.fixture(scope="module")
def calm(three, street, tmp_path_factory):
    folder = tmp_path_factory.mktemp("calm") / "out"
    pair(street[0], three, folder=folder, photos_root=street[1], **ALONE)
    return content(folder)


def content(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def kill_at(monkeypatch, point: int, run) -> bool:
    """Run up to the n-th change of the file system; whether it came so far."""
    with monkeypatch.context() as patch:
        operations(patch, stop_at=point)
        try:
            run()
        except Killed:
            gc.collect()  # the lock goes with the frames that held it
            return True
    return False


def test_a_kill_while_the_work_folder_starts_or_goes_is_no_wall(
    three, street, calm, tmp_path, monkeypatch
):
    """At each change of the file system in WorkFolder's start and in its removal."""

    def run(out):
        return pair(street[0], three, folder=out, photos_root=street[1], **ALONE)

    for point in range(1, 6):
        out = tmp_path / f"start{point}"
        assert kill_at(monkeypatch, point, lambda out=out: run(out))
        run(out)
        assert content(out) == calm
    with monkeypatch.context() as patch:
        seen = operations(patch)
        run(tmp_path / "all")
    last = len(seen)
    for back in (1, 2, 10, 20):
        out = tmp_path / f"end{back}"
        assert kill_at(monkeypatch, last - back, lambda out=out: run(out))
        run(out)
        assert content(out) == calm and not out.with_name(out.name + ".work").exists()


def test_own_files_survive_a_kill_between_any_two_renames(
    three, street, calm, tmp_path, monkeypatch
):
    out = tmp_path / "out"

    def run():
        return pair(street[0], three, folder=out, photos_root=street[1], **ALONE)

    def mine():
        return (out / "figures/mine.png").read_text(), (out / "notes.txt").read_text()

    run()
    (out / "figures").mkdir()
    (out / "figures/mine.png").write_text("picture")
    (out / "notes.txt").write_text("precious")
    whole = content(out)
    replace, tried = files.replace_folder, 0

    for point in range(1, 30):
        came = []

        def killed(*given, point=point, came=came):
            with monkeypatch.context() as patch:
                operations(patch, stop_at=point)
                try:
                    replace(*given)
                except Killed:
                    came.append(point)
                    raise

        with monkeypatch.context() as patch:
            patch.setattr(files, "replace_folder", killed)
            try:
                run()
            except Killed:
                pass
        gc.collect()
        files._swept.clear()  # as in the next process
        if not came:
            break
        tried += 1
        run()
        assert mine() == ("picture", "precious") and content(out) == whole, point
    assert tried >= 5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


@pytest.mark.parametrize(
    "name, how",
    [
        ("chips.npy", "byte"),
        ("chips.npy", "cut"),
        ("paired", "empty"),
        ("manifest.parquet", "cut"),
        ("failed.parquet", "absent"),
        ("SHA256SUMS", "empty"),
    ],
)
def test_a_damaged_part_is_made_anew(three, street, calm, tmp_path, monkeypatch, name, how):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(store, "assemble", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pair(street[0], three, folder=out, photos_root=street[1], **ALONE)
    for path in (tmp_path / "out.work/parts").glob(f"*/{name}"):
        hurt(path, how)
    pair(street[0], three, folder=out, photos_root=street[1], **ALONE)
    assert content(out) == calm


@pytest.mark.parametrize("name", ["in/train-*", "in/ids-*", "in/sums-*", "doubles*", "rejected/*"])
def test_a_damaged_chunk_is_made_anew(three, street, calm, tmp_path, monkeypatch, name):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(pairing._Run, "finish", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pair(street[0], three, folder=out, photos_root=street[1], **ALONE)
    found = list((tmp_path / "out.work").glob(name))
    for path in found:
        hurt(path, "byte")
    pair(street[0], three, folder=out, photos_root=street[1], **ALONE)
    assert found and content(out) == calm


def hurt(path: Path, how: str) -> None:
    whole = path.read_bytes()
    if how == "absent":
        path.unlink()
    elif how == "byte":
        at = len(whole) // 2
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    else:
        path.write_bytes(whole[: len(whole) // 2] if how == "cut" else b"")


@pytest.mark.parametrize("what", ["photos", "bands", "beside"])
def test_a_resume_with_other_files_gives_what_a_fresh_run_gives(tmp_path, monkeypatch, what):
    (tmp_path / "photos").mkdir()
    made, table = write_three_scenes(tmp_path), photos(tmp_path / "photos")

    def run(out):
        return pair(table, made, folder=out, photos_root=tmp_path / "photos", **ALONE)

    with monkeypatch.context() as patch:
        patch.setattr(store, "assemble", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(tmp_path / "out")
    before = fingerprint({}, table, made)
    if what == "photos":
        photos(tmp_path / "photos", value=1)
    elif what == "bands":
        shutil.copyfile(tmp_path / "b.tif", tmp_path / "new.tif")
        shutil.move(tmp_path / "new.tif", tmp_path / "a.tif")
    else:
        (tmp_path / "a.tif.aux.xml").write_text("<PAMDataset></PAMDataset>")
    run(tmp_path / "out")
    run(tmp_path / "fresh")
    assert content(tmp_path / "out") == content(tmp_path / "fresh")
    assert (fingerprint({}, table, made) == before) == (what == "photos")


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_a_table_hashed_in_parts_has_the_digest_of_the_whole(monkeypatch, rows):
    table = pd.DataFrame({"photo_id": [f"p,{i}" for i in range(rows)], "lon": np.arange(rows) / 7})
    both = table, pd.Series([None] * rows, dtype=object)
    before = fingerprint({}, both, [])
    monkeypatch.setattr(works, "HASHED", 3)
    assert fingerprint({}, both, []) == before
    if rows:
        assert fingerprint({}, (table.assign(lon=table["lon"] + 1e-9), both[1]), []) != before


def test_band_files_of_a_folder_are_part_of_the_fingerprint(three, tmp_path):
    from dataclasses import replace

    from gairlib.data.scene import Asset

    names = [tmp_path / f"B{i:02d}.tif" for i in range(10)]
    for name in names:
        name.write_bytes(b"one")
    scene = replace(three[0], path=tmp_path, assets=tuple(Asset(str(n)) for n in names))
    table = random_table(3)
    first = fingerprint({}, table, [scene])
    assert first == fingerprint({}, table, [scene])
    names[3].write_bytes(b"other")
    assert fingerprint({}, table, [scene]) != first


def test_a_second_pairing_is_told_who_holds_the_folder(three, street, tmp_path):
    for held in ("out", "out.work"):
        with files.owner(tmp_path / held):
            with pytest.raises(BadInput, match=f"{held}: process .* is working on it"):
                pair(street[0], three, folder=tmp_path / "out", **ALONE)
    pair(street[0], three, folder=tmp_path / "out", **ALONE)


def test_two_pairings_at_once_never_mix(three, street, calm, tmp_path):
    out, done, said = tmp_path / "out", [], []

    def run():
        try:
            pair(street[0], three, folder=out, photos_root=street[1], **ALONE)
            done.append(1)
        except BadInput as problem:
            said.append(str(problem))

    for _ in range(5):
        threads = [threading.Thread(target=run) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert content(out) == calm
    assert done and all("is working on it" in s for s in said)


def test_one_task_twice_at_once_gives_the_right_part(three, street, calm, tmp_path, monkeypatch):
    """As a scheduler does that takes a worker for lost: both write, one result stays."""
    original, out = cutting.cut, tmp_path / "out"

    def twice(*given):
        made, together = [], threading.Barrier(2)

        def one():
            together.wait()
            made.append(original(*given))

        threads = [threading.Thread(target=one) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert made[0] == made[1]
        return made[0]

    monkeypatch.setattr(pairing, "cut", twice)
    pair(street[0], three, folder=out, photos_root=street[1], **ALONE)
    assert content(out) == calm


# ------------------------------------------------------------------ the store


@pytest.fixture
def made(three, street, tmp_path):
    folder = tmp_path / "pairs"
    pair(street[0], three, folder=folder, photos_root=street[1], **ALONE)
    return folder


def read(folder: Path) -> None:
    pairs = store.load(folder)
    pairs.read_chips(np.arange(pairs.chips.sizes["chip"]))
    stored = pairs.photos()
    for number in range(len(stored)):
        stored.encoded(number)
    assert len(pairs.rejected) >= 0


def test_a_flipped_byte_or_an_absent_file_is_named(made):
    read(made)
    tried = 0
    for path in sorted(p for p in made.rglob("*") if p.is_file()):
        whole = path.read_bytes()
        for at in sorted(
            {0, len(whole) // 3, len(whole) // 2, len(whole) - 1} & {*range(len(whole))}
        ):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            try:
                read(made)
            except BadInput as problem:
                assert str(made) in str(problem)
            else:  # of a shard only what is not read: filling between chunks, the tail of a chunk
                assert "/c/" in str(path), (path, at)
            tried += 1
        path.unlink()
        if path.name == files.SUMS:
            read(made)  # as of an older version
        else:
            with pytest.raises((BadInput, Missing), match=str(made)):
                read(made)
        path.write_bytes(whole)
    assert tried > 100
    read(made)


def test_every_byte_of_pixels_that_are_read_counts(made):
    shard = made / "pairs.zarr/chips/c/0/0/0/0"
    whole, silent = shard.read_bytes(), 0
    pairs = store.load(made)
    right = pairs.read_chips(np.arange(2))
    for at in range(16, min(len(whole), 3000), 37):
        shard.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        try:
            assert np.array_equal(store.load(made).read_chips(np.arange(2)), right)
            silent += 1
        except BadInput as problem:
            assert "chip" in str(problem)
    assert silent < 40


def test_a_manifest_of_other_pairs_and_an_absent_shard_are_refused(made, three, tmp_path):
    other = pair(random_table(20, seed=3), three, folder=tmp_path / "other", **ALONE)
    shutil.copyfile(other.folder / "manifest.parquet", made / "manifest.parquet")
    with pytest.raises(BadInput, match="manifest.parquet is not what was written"):
        store.load(made)
    shard = tmp_path / "other/pairs.zarr/chips/c/0/0/0/0"
    shard.unlink()
    with pytest.raises(BadInput, match="c/0/0/0/0 is not there; run the pairing stage again"):
        store.load(tmp_path / "other")


def test_pairs_of_an_older_version_are_read_as_they_are(made):
    right = store.load(made).read_chips(np.arange(3))
    shutil.rmtree(made / "pairs.zarr/photo_crc32")
    zarr.consolidate_metadata(made / "pairs.zarr")
    (made / files.SUMS).unlink()
    assert np.array_equal(store.load(made).read_chips(np.arange(3)), right)
    read(made)

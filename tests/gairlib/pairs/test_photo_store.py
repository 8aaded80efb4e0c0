"""Photos stored with their pairs."""

from builders.small_files import write_photo
from builders.small_photos import SMALL, table

from gairlib.pairs.pairing import pair


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

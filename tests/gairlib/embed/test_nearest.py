"""Nearest neighbours: against sorting everything, ties, blocks, and files that go together."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gairlib import GAIR, geo
from gairlib.data.dataset import Dataset
from gairlib.embed import export, nearest
from gairlib.errors import BadInput, Missing


def another(model):
    torch.manual_seed(1)  # not the state that the fixture's model was drawn from
    return GAIR(model.config)


def naive(queries, vectors, k):
    """Every cosine by itself, sorted by (-cosine, row)."""
    rows = []
    for q in queries.astype(np.float64):
        norms = [np.linalg.norm(q) * np.linalg.norm(v) for v in vectors]
        cosine = [round(float(q @ v) / n, 12) if n else 0.0 for v, n in zip(vectors, norms)]
        rows.append(sorted(range(len(vectors)), key=lambda i: (-cosine[i], i))[:k])  # noqa: B023
    return np.array(rows)


@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 12), st.integers(1, 70))
@settings(deadline=None, max_examples=40)
def test_search_equals_sorting_everything(seed, n, k, chunk):
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-2, 3, (n, 3)).astype(np.float64)  # many ties, some zero vectors
    queries = rng.normal(size=(5, 3))
    found = nearest.search(queries, vectors, k, chunk)
    want = naive(queries, vectors, min(k, n))
    np.testing.assert_array_equal(found.rows, want)
    assert (np.diff(found.similarity, axis=1) <= 0).all() and np.abs(found.similarity).max() <= 1


def test_blocks_of_queries_and_vectors_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    vectors, queries = rng.normal(size=(500, 16)).astype(np.float32), rng.normal(size=(40, 16))
    vectors[250:] = vectors[:250]  # every row twice: the first of the two comes first
    whole = nearest.search(queries, vectors, 9)
    monkeypatch.setattr(nearest, "QUERIES", 7)
    parts = nearest.search(queries, vectors, 9, chunk=33)
    np.testing.assert_array_equal(whole.rows, parts.rows)
    np.testing.assert_array_equal(whole.similarity, parts.similarity)
    assert (whole.rows[:, 1] == whole.rows[:, 0] + 250).all()


def test_what_float32_cannot_tell_apart_is_decided_in_float64():
    """Vectors that differ by less than float32 holds, lengths that it does not, long ties."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=32)
    vectors = base + 1e-9 * rng.normal(size=(300, 32))  # float64: all one vector in float32
    vectors = np.concatenate([vectors, 1e-30 * vectors[::-1], 1e30 * vectors, np.zeros((5, 32))])
    queries = np.stack([base, -base, rng.normal(size=32)])
    for k, chunk in ((1, 64), (7, 64), (400, 1000)):
        found = nearest.search(queries, vectors, k, chunk)
        np.testing.assert_array_equal(found.rows, naive(queries, vectors, k))
    alike = np.ones((900, 8), np.float32)
    assert nearest.search(alike[:2], alike, 5, 100).rows.tolist() == [[0, 1, 2, 3, 4]] * 2


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 6), st.integers(1, 50))
@settings(deadline=None, max_examples=30)
def test_search_among_some_equals_search_of_these(seed, n, k, chunk):
    rng = np.random.default_rng(seed)
    vectors, queries = rng.integers(-1, 2, (n, 4)).astype(np.float32), rng.normal(size=(3, 4))
    among = rng.random(n) < 0.4
    found = nearest.search(queries, vectors, k, chunk, among=among)
    want = nearest.search(queries, vectors[among], k) if among.any() else None
    rows = np.flatnonzero(among)[want.rows] if want else np.zeros((3, 0))
    np.testing.assert_array_equal(found.rows, rows)


def test_where(embedded):
    _, _, folder = embedded
    index = nearest.Index.load(*(folder / f"{k}.parquet" for k in ("photos", "places")))
    table = index.table
    times = ["2021-07-03T23:59:59Z", "2021-07-04", None]
    table["captured_at"] = (times * len(table))[: len(table)]
    time = table["captured_at"]
    bern = table["id"].str.startswith("bern")
    for where, want in (
        ({}, time.notna() | True),
        ({"kind": "places"}, table["kind"] == "places"),
        ({"box": (7, 46, 8, 47)}, bern),
        ({"box": (8, -90, 7, 90)}, ~bern),  # across the antimeridian: all but a stripe
        ({"date": "2021-07-03"}, time.str.startswith("2021-07-03") & time.notna()),
        ({"date": ("2021-06", "2021-07")}, time.notna()),
        ({"date": "2021-07-04", "box": (7, 46, 8, 47)}, (time == "2021-07-04") & bern),
    ):
        np.testing.assert_array_equal(index.where(**where), want.to_numpy(bool), str(where))
    found = index.query(index.vectors[0], where={"box": (7, 46, 8, 47), "kind": "photos"}, k=99)
    assert set(found["id"]) == set(table["id"][bern & (table["kind"] == "photos")])
    with pytest.raises(BadInput, match="date"):
        index.where(date="last summer")


def test_search_refuses():
    good = np.ones((3, 4))
    for queries, k, said in (
        (np.ones((2, 5)), 1, "D"),
        (np.ones(4), 1, "D"),
        (good, 0, "k is 0"),
        (good * np.nan, 1, "finite"),
    ):
        with pytest.raises(BadInput, match=said):
            nearest.search(queries, good, k)


def test_index_by_id_vector_and_place(embedded):
    model, _, folder = embedded
    index = nearest.Index.load(*(folder / f"{k}.parquet" for k in ("chips", "photos", "places")))
    assert set(index.table["kind"]) == {"chips", "photos", "places"}
    own = index.row("bern-03", "photos")
    answer = index.query(id="bern-03", of="photos", k=5, where={"kind": "photos"})
    assert list(answer.columns[:6]) == "similarity id kind lon lat distance_km".split()
    assert "bern-03" not in set(answer["id"]) and (answer["kind"] == "photos").all()
    rows = [index.row(i, "photos") for i in answer["id"]]
    np.testing.assert_allclose(
        answer["similarity"], index.vectors[rows] @ index.vectors[own], atol=1e-6
    )
    here, there = (index.table.loc[r, ["lon", "lat"]].to_numpy(float) for r in (own, rows[0]))
    assert answer["distance_km"][0] == pytest.approx(geo.haversine(here, there).item() / 1000)

    first = index.query(index.vectors[own], k=1, where={"kind": "photos"}).iloc[0]
    assert first["id"] == "bern-03" and np.isnan(first["distance_km"])

    lonlat = index.table.loc[index.row("quito-01", "places"), ["lon", "lat"]].to_list()
    answer = index.query(lonlat=lonlat, model=model, where={"kind": "places"}, k=3)
    assert answer["id"][0] == "quito-01" and answer["similarity"][0] > 1 - 1e-5
    assert answer["distance_km"][0] == pytest.approx(0, abs=1e-6)
    chip = index.query(lonlat=lonlat, model=model, where={"kind": "chips"}).iloc[0]
    assert "licence" in chip and len(chip["model"]) == 16


def test_index_refuses(embedded, tmp_path):
    model, _, folder = embedded
    index = nearest.Index.load(folder / "photos.parquet")
    for question, said in (
        (dict(), "one of"),
        (dict(id="bern-03", lonlat=(1, 2)), "one of"),
        (dict(id="nobody"), "nobody"),
        (dict(lonlat=(1, 2)), "model"),
        (dict(id="bern-03", where={"kind": "chips"}), "holds photos"),
        (dict(id="bern-03", where={"box": (50, 0, 51, 1)}), "box \\(50, 0, 51, 1\\)"),
        (dict(id="bern-03", where={"date": "2021"}), "date 2021"),
        (dict(lonlat=(1, 2), model=another(model)), "not the one"),
    ):
        with pytest.raises(BadInput, match=said):
            index.query(**question)
    with pytest.raises(Missing):
        nearest.Index.load(folder / "gone.parquet")
    another(model).save_pretrained(tmp_path / "other")
    export.write(
        export.places(model, Dataset(folder=index_folder(tmp_path)).street()),
        tmp_path / "x.parquet",
        checkpoint=tmp_path / "other",
        dataset=Dataset(index_folder(tmp_path)),
        preprocessing="gairlib",
    )
    with pytest.raises(BadInput, match="different weights"):
        nearest.Index.load(folder / "photos.parquet", tmp_path / "x.parquet")


def index_folder(folder):
    """An empty dataset folder."""
    (folder / "empty").mkdir(exist_ok=True)
    return folder / "empty"

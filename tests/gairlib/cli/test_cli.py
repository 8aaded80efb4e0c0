"""The command line gives what the functions give, starts without what it does not need, and says a
mistake in one sentence."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from builders.small_models import SMALL

from gairlib import cli
from gairlib.data.dataset import Dataset
from gairlib.embed import dense, encode, export
from gairlib.embed.finding import find
from gairlib.embed.nearest import Index
from gairlib.model import GAIR, model_hash
from gairlib.origins import Origin

HEAVY = ("torch", "numpy", "pandas", "rasterio", "huggingface_hub", "geopandas", "pyarrow")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    made = encode.random_init(SMALL.replace(chip_px=32, chip_m=320.0), 0)
    made.origins = (Origin("location", "asset:geoclip", "MIT", "V. et al."),)
    made.save_pretrained(folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def vectors(model, tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("vectors")
    assert cli.main(["embed", str(tiny), "--model", str(model), "--out", str(folder)]) == 0
    return folder


def told(capsys, *arguments):
    assert cli.main([*map(str, arguments)]) == 0
    return capsys.readouterr().out


def refused(capsys, *arguments):
    """The one line of a mistake."""
    try:
        code = cli.main([*map(str, arguments)])
    except SystemExit as ended:
        code = ended.code
    lines = capsys.readouterr().err.splitlines()
    assert code == 2 and len(lines) == 1, lines
    return lines[0]


def test_every_command_has_an_example_that_its_parser_takes(capsys):
    for name in cli.COMMANDS:
        with pytest.raises(SystemExit) as ended:
            cli.main([name, "--help"])
        said = capsys.readouterr().out
        assert ended.value.code == 0 and "example:" in said
        example = said.split("example:\n")[1].split()
        assert example[:2] == ["gair", name]
        cli.parser().parse_args(example[1:])


def test_info_of_a_model_imports_nothing_that_computes(model, capsys):
    code = (
        "import sys; from gairlib.cli import main; assert main(['info', sys.argv[1]]) == 0; "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, model], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    found = json.loads(told(capsys, "info", model, "--json"))
    whole = GAIR.from_pretrained(model)
    assert found["parameters"] == sum(v.numel() for v in whole.state_dict().values())
    assert found["trained on chips of"] == "32 px, 320 m" and "MIT" in found["licence"]
    assert found["location"] == SMALL.location and found["dim"] == 16
    assert found["and held by assets"] == []
    assert "geoclip" in told(capsys, "info") or "none" in told(capsys, "info")


def test_embed_writes_what_python_gives(model, tiny, vectors, capsys):
    dataset, own = Dataset(tiny), GAIR.from_pretrained(model)
    frame = pd.read_parquet(vectors / "photos.parquet").sort_values("photo_id")
    right = export.photos(own, dataset).sort_values("photo_id")
    assert frame["photo_id"].to_list() == right["photo_id"].to_list()
    both = (np.stack(f["embedding"]) for f in (frame, right))
    np.testing.assert_allclose(*both, atol=1e-6)  # other photos beside them in a batch
    assert len(pd.read_parquet(vectors / "chips.parquet")) == len(export.chips(own, dataset))
    assert frame["model"].unique().tolist() == [model_hash(own)]
    said = told(capsys, "info", vectors / "chips.parquet")
    assert "32 px, 320 m" in said and "asset:geoclip" in said
    assert (vectors / "places.parquet").is_file()


def test_field_writes_what_python_gives(model, tiny, tmp_path, capsys):
    scene = tiny / "scenes/bern.tif"
    ours, theirs = tmp_path / "cli.tif", tmp_path / "python.tif"
    own = GAIR.from_pretrained(model)
    how = {"resolution": 40.0, "window": (0, 0, 64, 48)}
    dense.write_cog(own, Dataset(tiny).scenes()[0], theirs, **how)
    window = "--window 0 0 64 48".split()
    told(capsys, "field", scene, "--model", model, "--out", ours, "--resolution", 40, *window)
    with rasterio.open(ours) as one, rasterio.open(theirs) as two:
        assert np.array_equal(one.read(), two.read(), equal_nan=True) and one.count == 16
    assert "location: MIT (asset:geoclip)" in told(capsys, "info", ours)
    told(
        capsys, "field", scene, "--model", model, "--out", ours, "--resolution", 80,
        "--components", 2, "--dtype", "int8",
    )  # fmt: skip
    with rasterio.open(ours) as file:
        assert file.count == 2 and file.dtypes[0] == "int8"


def test_search_finds_what_python_finds(model, tiny, vectors, capsys):
    files = sorted(vectors.glob("*.parquet"))
    index, own = Index.load(*files), GAIR.from_pretrained(model)
    photo = index.table.loc[index.table["kind"] == "photos", "id"].iloc[0]
    said = json.loads(told(capsys, "search", *files, "--id", photo, "-k", 3, "--format", "json"))
    assert [row["id"] for row in said] == index.query(id=photo, k=3)["id"].tolist()
    place = "--lonlat 7.4 46.9 --kind chips --box 7 46 8 47 -k 2 --format csv".split()
    said = told(capsys, "search", *files, "--model", model, *place).splitlines()
    where = {"kind": "chips", "box": (7, 46, 8, 47)}
    right = index.query(lonlat=(7.4, 46.9), model=own, where=where, k=2)
    assert len(said) == 3 and [line.split(",")[1] for line in said[1:]] == right["id"].tolist()
    picture = tiny / f"street/{photo}.jpg"
    said = told(capsys, "search", *files, "--model", model, "--photo", picture, "--kind", "photos")
    assert said.splitlines()[1].split()[1] == photo  # the picture itself is the nearest


def test_find_finds_what_python_finds(model, tiny, tmp_path, capsys):
    photo, scene, out = tiny / "street/bern-00.jpg", tiny / "scenes/bern.tif", tmp_path / "found"
    how = "--count 2 --resolution 40".split()
    said = told(capsys, "find", photo, scene, "--model", model, "--out", out, *how).splitlines()
    right = find(photo, scene, model, count=2, resolution=40.0)
    places = json.loads((out / "places.geojson").read_text())["features"]
    assert [p["properties"]["lon"] for p in places] == right.places["lon"].tolist()
    assert len(said) == 1 + len(right.places) + 3 and (out / "similarity.tif").is_file()


def test_a_map_is_learnt_and_made(model, tiny, tmp_path, capsys):
    """The tiny scene is green in the west and grey in the east."""
    scene, labels = tiny / "scenes/bern.tif", tmp_path / "labels.tif"
    with rasterio.open(scene) as file:
        profile = file.profile | {"count": 1, "dtype": "uint8", "nodata": 0}
        truth = np.where(np.arange(96) < 48, 1, 2)[None].repeat(96, 0).astype("uint8")
    with rasterio.open(labels, "w", **profile) as file:
        file.write(truth, 1)
    learnt, made = tmp_path / "map.safetensors", tmp_path / "map.tif"
    told(capsys, "fit", scene, "--labels", labels, "--model", model, "--out", learnt)
    told(capsys, "predict", learnt, scene, "--model", model, "--out", made)
    with rasterio.open(made) as file:
        assert file.read(1).shape == truth.shape and len(np.unique(file.read(1))) >= 2
    assert "no such file" in refused(
        capsys, "predict", tmp_path / "absent", scene, "--model", model, "--out", made
    )


def test_mistakes_are_one_sentence(model, tiny, vectors, tmp_path, capsys):
    assert "no such folder" in refused(capsys, "info", tmp_path / "absent")
    assert "--help" in refused(capsys, "embed", tiny)
    assert "invalid choice" in refused(capsys, "paint")
    no_gpu = refused(capsys, "embed", tiny, "--model", model, "--out", "x", "--device", "gpu")
    assert "device 'gpu'" in no_gpu
    assert "--components" in refused(
        capsys, "field", "s.tif", "--model", model, "--out", "f.tif", "--dtype", "int8"
    )
    photos = vectors / "photos.parquet"
    assert "--model" in refused(capsys, "search", photos, "--lonlat", 0, 0)
    other = tmp_path / "other"
    encode.random_init(SMALL, 9).save_pretrained(other)
    assert "not the model" in refused(
        capsys, "search", photos, "--photo", tiny / "street/bern-00.jpg", "--model", other
    )
    assert not Path("x").exists()


def test_the_commands_of_the_docs_run(model, tiny, tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[3] / "docs/cli.md").read_text()
    lines = [line for line in page.splitlines() if line.startswith("gair ")]
    monkeypatch.chdir(tmp_path)
    for name, there in (
        ("outputs/sites", tiny),
        ("outputs/pretrain/model", model),
        ("scene.tif", tiny / "scenes/bern.tif"),
        ("photo.jpg", tiny / "street/bern-00.jpg"),
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).symlink_to(there)
    assert len(lines) > 7
    for line in lines:
        arguments = shlex.split(line)[1:]
        cli.parser().parse_args(arguments)
        if "owner/name" not in line:
            assert told(capsys, *arguments), line

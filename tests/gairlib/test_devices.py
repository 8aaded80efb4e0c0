"""One word for the device everywhere: who runs a network asks for it, and hands it on."""

import ast
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from builders.small_models import SMALL
from torch import nn

from gairlib import devices
from gairlib.data.dataset import Dataset
from gairlib.embed import dense, encode, export, field
from gairlib.errors import BadInput
from gairlib.model import model_hash
from gairlib.torchgeo_adapter import CoordBenchEncoder
from research.maps import explore, explorer, similarity
from research.studies.street_photos import of_tower
from research.tasks import geolocalisation, reading
from research.tasks.segmentation import benchmark, train
from research.tasks.task import Options

ROOT = Path(__file__).parents[2]
NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="of a machine without a GPU")
CHIP = {"chip_px": 32, "chip_m": 320.0}
TO_BE_TOLD = ("gairlib/train/", "gairlib/weights/", "gairlib/model.py", "research/speed/")


def defaults():
    """ "file:function" -> the default of its parameter `device`, of all that have one."""
    for path in sorted([*ROOT.glob("gairlib/**/*.py"), *ROOT.glob("research/**/*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                a = node.args
                plain = [*a.posonlyargs, *a.args]
                given = dict(
                    zip([p.arg for p in plain[len(plain) - len(a.defaults) :]], a.defaults)
                )
                given |= {p.arg: d for p, d in zip(a.kwonlyargs, a.kw_defaults) if d is not None}
                if "device" in given:
                    name = f"{path.relative_to(ROOT).as_posix()}:{node.name}"
                    yield name, ast.literal_eval(given["device"])


def test_whoever_runs_a_network_takes_auto_unless_told():
    found = {k: v for k, v in defaults() if not k.startswith(TO_BE_TOLD)}
    assert len(found) > 25
    assert {k: v for k, v in found.items() if v not in ("auto", None)} == {}


@NO_GPU
def test_words():
    assert devices.find() == devices.find("cpu") == torch.device("cpu")
    for word in ("cuda", "cuda:3", "gpu", 7.5):
        with pytest.raises(BadInput, match=f"device.*{word}"):
            devices.find(word)


def test_the_gpu_is_taken_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.find() == devices.find("auto") == torch.device("cuda")


class Moves(nn.Linear):
    def to(self, device):
        self.moved = [*getattr(self, "moved", []), str(device)]
        return self


def test_a_model_is_back_where_it_was_even_after_an_error(monkeypatch):
    monkeypatch.setattr(devices, "find", lambda word: f"{word}!")

    @devices.on_device
    def run(model, x, *, device="auto"):
        """Says where."""
        if x is None:
            raise BadInput("no x")
        return device

    model = Moves(2, 2)
    assert run(model, 1) == "auto!" and run(model=model, x=1, device="there") == "there!"
    with pytest.raises(BadInput, match="no x"):
        run(model, None)
    assert model.moved == ["auto!", "cpu", "there!", "cpu", "auto!", "cpu"]
    assert run.__doc__ == "Says where." and "device" in inspect.signature(run).parameters


@NO_GPU
def test_who_embeds_hands_the_word_on(tiny, tmp_path):
    """Asked for a GPU that is not there, each of them refuses: so each of them asked."""
    model, dataset = encode.random_init(SMALL, 0), Dataset(tiny)
    scene, street = dataset.scenes()[0], dataset.street()[:2]
    middle = tuple(float(v) for v in scene.to_lonlat(48, 48))
    field_ = field.dense_field(model, scene, **CHIP, resolution=80.0)
    chip = np.ones((10, 32, 32), np.float32)
    query = type("Query", (), {"lonlat": np.zeros((1, 2)), "rows": street})
    calls = {
        "encode_photos": lambda d: encode.encode_photos(model, None, device=d),
        "encode.photos": lambda d: encode.photos(model, dataset, street, device=d),
        "encode.chips": lambda d: encode.chips(model, None, device=d),
        "local": lambda d: encode.local(model, None, None, None, device=d),
        "locations": lambda d: encode.locations(model, [[0, 0]], device=d),
        "export.chips": lambda d: export.chips(model, dataset, **CHIP, device=d),
        "export.photos": lambda d: export.photos(model, dataset, device=d),
        "places": lambda d: export.places(model, street, device=d),
        "dense_field": lambda d: field.dense_field(model, scene, **CHIP, device=d),
        "chip_field": lambda d: field.read_chip_field(model, chip, [0], [0], device=d),
        "write_cog": lambda d: dense.write_cog(model, scene, tmp_path / "f.tif", **CHIP, device=d),
        "sample": lambda d: dense.sample(model, scene, **CHIP, device=d),
        "coordbench": lambda d: CoordBenchEncoder(model, device=d),
        "three_readings": lambda d: explore.three_readings(model, chip, 4, device=d),
        "explorer": lambda d: explorer.build(model, dataset, field_, street, device=d),
        "similarity": lambda d: similarity.maps(
            {"": (model, None)}, scene, np.ones(16), middle, **CHIP, sides={80.0: 640.0}, device=d
        ),
        "of_tower": lambda d: of_tower(model.sv.tower, None, None, device=d),
        "reading": lambda d: reading.read(model, None, device=d),
        "vectors": lambda d: geolocalisation.vectors(model, query, "location", device=d),
        "segmentation features": lambda d: train.features(model, None, device=d),
        "fit": lambda d: train.fit(None, None, seed=0, device=d),
        "predict": lambda d: train.predict(nn.Linear(1, 1), None, device=d),
        "options": lambda d: Options(device=d),
    }
    for name, call in calls.items():
        with pytest.raises(BadInput, match="cuda"):
            call("cuda")
            pytest.fail(name)
    assert Options().device == "cpu" and benchmark.linear_probe.__defaults__ == ("auto",)


def towers(model, seed=0):
    rng = np.random.default_rng(seed)
    dn = rng.uniform(100, 4000, (5, 10, 32, 32)).astype(np.float32)
    images = torch.from_numpy(rng.integers(0, 255, (5, 3, 32, 32), dtype=np.uint8))
    lonlat = rng.uniform(-80, 80, (5, 2))
    return {
        "chips": lambda d: encode.chips(model, dn, kind="shared", device=d),
        "photos": lambda d: encode.encode_photos(model, images, device=d),
        "backbone": lambda d: encode.encode_photos(model, images, backbone=True, device=d),
        "local": lambda d: encode.local(model, dn, [0, 4], [[0.1, 0.2], [-0.5, 1]], device=d),
        "places": lambda d: encode.locations(model, lonlat, device=d),
    }


def apart(one, two):
    return (np.linalg.norm(one - two, axis=1) / np.linalg.norm(two, axis=1)).max()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("bf16", [False, True])
def test_a_gpu_agrees_with_the_cpu(bf16):
    model = encode.random_init(SMALL, 0)
    for name, run in towers(model).items():
        model.bf16 = False
        cpu = run("cpu")
        model.bf16 = bf16
        assert apart(run("auto"), cpu) < (devices.HALF if bf16 else devices.TOLERANCE), name
        assert next(model.parameters()).device.type == "cpu"


def test_half_precision_is_of_the_images_and_of_nothing_else():
    model = encode.random_init(SMALL, 0)
    weights = model_hash(model)
    whole = {name: run("cpu") for name, run in towers(model).items()}
    model.bf16 = True
    for name, run in towers(model).items():
        half = run("cpu")
        assert half.dtype == np.float32
        if name == "places":
            assert np.array_equal(half, whole[name])
        else:
            assert 0 < apart(half, whole[name]) < devices.HALF, name
    assert model_hash(model) == weights

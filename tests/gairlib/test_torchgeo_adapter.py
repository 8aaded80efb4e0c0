"""The adapters against stand-ins that make torchgeo-bench's and torchgeo's calls."""

import importlib.util
import math
import sys
import types
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from gairlib import GAIR, GAIRConfig, bands, preprocess, torchgeo_adapter, torchgeo_inputs
from gairlib.errors import BadInput

SV = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
CONFIG = GAIRConfig(
    dim=24,
    rs_size=32,
    rs_patch=8,
    rs_depth=2,
    rs_heads=2,
    rs_width=16,
    sv_options=SV,
    sv_size=16,
    decoder_hidden=(8,),
)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return GAIR(CONFIG).eval()


# ----------------------------------------------------- the bench's side, as its runners behave


class LocationEncoder(ABC):
    name = "location_encoder"

    def __init__(self, device="cpu", batch_size=8192):
        self.device, self.batch_size = device, int(batch_size)

    @abstractmethod
    def _encode(self, lon, lat, year): ...

    def encode(self, lon, lat, year=None):
        lon, lat = np.asarray(lon, np.float64), np.asarray(lat, np.float64)
        found = []
        for i in range(0, len(lon), self.batch_size):
            k = slice(i, i + self.batch_size)
            chunk = self._encode(lon[k], lat[k], None if year is None else np.asarray(year)[k])
            found.append(np.asarray(chunk, np.float32))
        return np.concatenate(found) if found else np.empty((0, 0), np.float32)


class BenchModel(nn.Module, ABC):
    handles_own_normalization = False

    def __init__(self, bands, normalization="bandspec_zscore", **_):
        super().__init__()
        self.bands, self.num_channels = list(bands), len(bands)
        self.normalization = normalization
        assert self.handles_own_normalization or normalization == "identity"

    def normalize_inputs(self, images):
        return images

    @abstractmethod
    def _forward_patch_features(self, images): ...

    def forward_patch_features(self, images):
        return self._forward_patch_features(self.normalize_inputs(images))

    def forward(self, images):
        return self.forward_patch_features(images)


@dataclass(frozen=True)
class BandSpec:
    sensor: str
    name: str
    source_name: str
    mean: float
    std: float
    min: float
    max: float
    wavelength_um: float | None = None


def spec(name, mean=1500.0, low=0.0, high=28000.0, sensor="s2"):
    return BandSpec(sensor, name, name, mean, 400.0, low, high)


EUROSAT = (
    "coastal_aerosol blue green red red_edge_1 red_edge_2 red_edge_3 nir water_vapour swir_cirrus "
    "swir_1 swir_2 red_edge_4"
).split()
EUROSAT_SPECS = [spec(n, 12.0 if n == "swir_cirrus" else 1500.0) for n in EUROSAT]


@pytest.fixture
def installed(monkeypatch):
    """The adapter as it is where torchgeo-bench is installed."""
    for name, members in {
        "torchgeo_bench": {},
        "torchgeo_bench.coordbench": {},
        "torchgeo_bench.coordbench.models": {"LocationEncoder": LocationEncoder},
        "torchgeo_bench.models": {},
        "torchgeo_bench.models.interface": {"BenchModel": BenchModel},
    }.items():
        module = types.ModuleType(name)
        module.__dict__.update(members, __path__=[])
        monkeypatch.setitem(sys.modules, name, module)
    found = importlib.util.spec_from_file_location("adapter_again", torchgeo_adapter.__file__)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(params=["stand-in", "installed"])
def adapter(request):
    found = torchgeo_adapter
    return found if request.param == "stand-in" else request.getfixturevalue("installed")


# -------------------------------------------------------------------------------- coordinates


def points(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-180, 180, n), rng.uniform(-90, 90, n)


def test_isinstance_of_the_bench_where_it_is_installed(installed, model):
    assert isinstance(installed.CoordBenchEncoder(model, device="cpu"), LocationEncoder)
    rs = installed.BenchImageEncoder(bands=EUROSAT_SPECS, checkpoint=model)
    assert isinstance(rs, BenchModel)
    assert not issubclass(torchgeo_adapter.CoordBenchEncoder, LocationEncoder)


def test_a_release_without_coordbench_still_imports(installed):
    del sys.modules["torchgeo_bench.coordbench.models"].LocationEncoder
    assert installed._bench("coordbench.models", "LocationEncoder", dict) is dict
    assert installed._bench("no.such.module", "X", dict) is dict


def test_coordbench_runner(adapter, model, tmp_path):
    """Built by keywords from YAML, given lon and lat in chunks, with and without year."""
    model.save_pretrained(tmp_path)
    lon, lat = points(50)
    encoder = adapter.CoordBenchEncoder(checkpoint=str(tmp_path), device="cpu")
    features = encoder.encode(lon, lat, None)
    assert features.dtype == np.float32 and features.shape == (50, 24) and encoder.name == "gair"
    want = model.encode_location(np.stack([lon, lat], 1)).detach().numpy()
    np.testing.assert_allclose(features, want, atol=1e-6)
    chunked = adapter.CoordBenchEncoder(model, batch_size=7)
    np.testing.assert_allclose(chunked.encode(lon, lat, np.full(50, 2021)), features, atol=1e-6)
    assert encoder.encode([], []).shape[0] == 0
    unit = adapter.CoordBenchEncoder(model, normalize=True).encode(lon, lat)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-5)
    length = np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(unit * length, features, atol=1e-5)


def test_order_is_lon_then_lat(adapter, model):
    """Swapped arguments are another place, or no place at all."""
    encoder = adapter.CoordBenchEncoder(model)
    a, b = encoder.encode([10.0], [50.0]), encoder.encode([50.0], [10.0])
    assert not np.allclose(a, b)
    with pytest.raises(BadInput, match="swapped"):
        encoder.encode([50.0], [110.0])
    for lon, lat in (([10.0, 20.0], [1.0]), ([[1.0]], [[1.0]])):
        with pytest.raises(BadInput, match=r"two arrays \[N\]"):
            encoder.encode(lon, lat)
    with pytest.raises(BadInput, match="finite"):
        encoder.encode([np.nan], [1.0])


def test_coordinates_keep_their_digits(adapter, model):
    """A tenth of a second of arc, below float32's step at 179 degrees, is still a difference."""
    lon = np.array([179.0, 179.0 + 3e-6])
    assert np.float32(lon[0]) == np.float32(lon[1])
    features = adapter.CoordBenchEncoder(model.double()).encode(lon, [0.0, 0.0])
    model.float()
    assert np.abs(features[0] - features[1]).max() > 0


# ------------------------------------------------------------------------------------- images


def scene(names, b=3, size=40, seed=0):
    """Images of those bands, float32 [B, C, H, W]: a band has the same values under any name."""
    channels = []
    for name in names:
        number = int.from_bytes(torchgeo_inputs.canonical(name).encode())
        rng = np.random.default_rng([seed, number])
        channels.append(rng.integers(1, 6000, (b, size, size)))
    return torch.from_numpy(np.stack(channels, 1).astype(np.float32))


def direct(model, dn):
    """Mean token by the library's own road."""
    x = preprocess.get(model.config.preprocessing).rs(dn, model.config.rs_size)
    with torch.no_grad():
        return model.encode_rs(x).backbone


def test_torchgeo_names_orders_and_batches(model):
    want = direct(model, scene(bands.BANDS))
    orders = {
        "L1C": torchgeo_inputs.SENTINEL2_TOA,
        "L2A": torchgeo_inputs.SENTINEL2_SR,
        "ten": list(bands.BANDS),
        "EuroSAT": EUROSAT,
        "with radar": [*torchgeo_inputs.SENTINEL2_TOA, None, None],
    }
    for what, names in orders.items():
        images = scene([n or "B1" for n in names])
        encoder = torchgeo_adapter.SceneEncoder(model, names).eval()
        with torch.no_grad():
            torch.testing.assert_close(encoder(images), want, msg=what)
            torch.testing.assert_close(encoder({"image": images, "label": 3}), want)
        assert encoder.transforms.present == bands.BANDS
        assert encoder.meta["in_chans"] == len(names) and encoder.meta["bands"] == list(names)
    assert encoder.num_features == want.shape[1] == 16
    with pytest.raises(BadInput, match="no 'image' among mask"):
        encoder({"mask": images})


def test_units_and_offset_are_converted(model):
    dn = scene(torchgeo_inputs.SENTINEL2_TOA)
    dn[0, :, :5] = 0
    want = torchgeo_adapter.SceneEncoder(model)(dn)
    ten = torchgeo_adapter.SceneEncoder(model, unit="reflectance")
    torch.testing.assert_close(ten(dn / 10000), want, atol=1e-4, rtol=1e-4)
    raw = torch.where(dn == 0, dn, dn + 1000)
    torch.testing.assert_close(torchgeo_adapter.SceneEncoder(model, offset=1000)(raw), want)
    with pytest.warns(UserWarning, match="offset=1000"):
        torchgeo_adapter.SceneEncoder(model)(raw)
    for images, unit, hint in (
        (dn / 10000, "dn", "looks like reflectance"),
        (dn, "reflectance", "unit='dn'"),
        ((dn - dn.mean()) / dn.std() * 3, "reflectance", "standardised"),
        (dn - 3000, "dn", "normalised or offset"),
        (dn[:, :12], "dn", r"\[B, 13, H, W\]"),
    ):
        with pytest.raises(BadInput, match=hint):
            torchgeo_adapter.SceneEncoder(model, unit=unit)(images)


def test_a_mistaken_unit_shows_though_bands_are_filled(model):
    rgb = torchgeo_adapter.SceneEncoder(model, ["B4", "B3", "B2"])
    assert rgb.transforms.present == ("B02", "B03", "B04")
    with pytest.raises(BadInput, match="looks like reflectance"):
        rgb(scene(["B4", "B3", "B2"]) / 10000)
    with pytest.raises(BadInput, match="L2A product"):
        torchgeo_adapter.SceneEncoder(model, level="L1C")


@pytest.mark.parametrize("fill", ["mean", "zero"])
def test_missing_bands_are_filled(model, fill):
    images = scene(["B4", "B3", "B2"])
    dn, present = bands.place(images.numpy(), ("B04", "B03", "B02"), fill)
    made = torchgeo_adapter.SceneEncoder(model, ["B4", "B3", "B2"], fill=fill)
    np.testing.assert_array_equal(made.transforms.digital_numbers(images).numpy(), dn)
    assert made.transforms.present == present


def test_maps_and_the_shared_space(model):
    images = scene(bands.BANDS)
    encoder = torchgeo_adapter.SceneEncoder(model, bands.BANDS, features="field")
    chips = preprocess.get("gairlib").rs(images, 32)
    with torch.no_grad():
        found = model.encode_rs(chips)
        grid = encoder.forward_features(images)
        assert grid.shape == (3, 24, 4, 4) and encoder.num_features == 24
        torch.testing.assert_close(grid, found.grid.permute(0, 3, 1, 2))
        torch.testing.assert_close(encoder(images), model.chip_vector(found, normalize=True))
    for wrong in ({"features": "head"}, {"unit": "percent"}, {"fill": "noise"}):
        with pytest.raises(BadInput, match=next(iter(wrong.values()))):
            torchgeo_adapter.SceneEncoder(model, **wrong)
    for names, hint in (
        (["B4", "red"], "B04 stands"),
        (["B4", "VV"], "'VV' is no"),
        (["B1", None], "none of the 2 channels"),
    ):
        with pytest.raises(BadInput, match=hint):
            torchgeo_adapter.SceneEncoder(model, names)


def test_gradients_reach_the_backbone_only(model):
    encoder = torchgeo_adapter.SceneEncoder(model, bands.BANDS)
    names = {n.split(".")[0] for n, _ in encoder.named_parameters()}
    assert names == {"backbone"} and not any("sv" in n for n, _ in encoder.named_modules())
    encoder(scene(bands.BANDS)).sum().backward()
    assert encoder.backbone.rs.embed.weight.grad.abs().sum() > 0
    model.zero_grad()


# -------------------------------------------------------------------------- torchgeo-bench run


def test_bench_runner(adapter, model):
    """One instance a data set, built with its specs; raw float32 images; embeddings [B, K]."""
    encoder = adapter.BenchImageEncoder(
        bands=EUROSAT_SPECS, checkpoint=model, normalization="model_native"
    ).eval()
    with torch.inference_mode():
        features = encoder(scene(EUROSAT))
    torch.testing.assert_close(features, direct(model, scene(bands.BANDS)))
    assert encoder.present == bands.BANDS and encoder.num_channels == 13
    reflectance = [spec(n, 0.1, high=2.8) for n in bands.BANDS]  # so2sat, with its radar bands
    mixed = [spec("vv_real", sensor="sar"), *reflectance]
    encoder = adapter.BenchImageEncoder(bands=mixed, checkpoint=model)
    images = torch.cat([torch.randn(3, 1, 40, 40), scene(bands.BANDS) / 10000], 1)
    torch.testing.assert_close(encoder(images), features, atol=1e-4, rtol=1e-4)


def test_bench_rgb_subset_is_reported(adapter, model):
    rgb = [spec(n) for n in ("red", "green", "blue")]
    assert adapter.BenchImageEncoder(rgb, checkpoint=model).present == ("B02", "B03", "B04")


def test_segmentation_probe(adapter, model):
    """The runner's probe hooks layers by name and feeds random numbers to learn their shapes."""
    encoder = adapter.BenchImageEncoder(bands=EUROSAT_SPECS, checkpoint=model)
    modules = {n.removeprefix("backbone."): m for n, m in encoder.named_modules()}
    found = {}
    for name in ("rs.blocks.1", "rs.blocks.0"):
        modules[name].register_forward_hook(lambda m, i, out, n=name: found.update({n: out}))
    with torch.no_grad():
        encoder(torch.randn(1, encoder.num_channels, 224, 224))
    for tokens in found.values():
        side = math.isqrt(tokens.shape[1])
        assert tokens.ndim == 3 and side**2 == tokens.shape[1] == 16
    prefixes = [m.num_prefix_tokens for m in encoder.modules() if hasattr(m, "num_prefix_tokens")]
    assert prefixes and set(prefixes) == {0}


def test_bench_statistics_give_mistakes_away(adapter, model):
    def build(specs, **options):
        return adapter.BenchImageEncoder(specs, checkpoint=model, **options)

    # GeoBench V1's m-eurosat: B8A is the last channel, but the names say it follows B08
    names = (
        "coastal_aerosol blue green red red_edge_1 red_edge_2 red_edge_3 nir red_edge_4 "
        "water_vapour swir_cirrus swir_1 swir_2"
    ).split()
    means = dict(red_edge_4=751.0, water_vapour=12.3, swir_cirrus=1848.9)
    mislabelled = [spec(n, means.get(n, 1500.0)) for n in names]
    with pytest.raises(BadInput, match="out of step.*layout='eurosat-ms'"):
        build(mislabelled)
    right = build(mislabelled, layout="eurosat-ms")
    torch.testing.assert_close(right(scene(EUROSAT)), direct(model, scene(bands.BANDS)).clone())
    shifted = [spec(n, 2500.0, low=1003.0) for n in bands.BANDS]
    with pytest.raises(BadInput, match="pass offset=1000"):
        build(shifted)
    want = direct(model, scene(bands.BANDS))
    torch.testing.assert_close(build(shifted, offset=1000)(scene(bands.BANDS) + 1000), want)
    for specs, options, hint in (
        ([spec(n, 90.0, high=255.0) for n in ("red", "green", "blue")], {}, "8-bit values"),
        ([spec("red", sensor="aerial")], {}, "none of the 1 channels"),
        (EUROSAT_SPECS, {"layout": "l2a-12"}, r"layout 'l2a-12' with 13 bands; .*l1c \(13 bands\)"),
        (EUROSAT_SPECS, {"normalization": "bandspec_zscore"}, "--normalization model"),
    ):
        with pytest.raises(BadInput, match=hint):
            build(specs, **options)

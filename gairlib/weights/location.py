"""GeoCLIP's and SatCLIP's location encoders as modules of ours: (lon, lat) [N, 2] -> [N, D]."""

from __future__ import annotations

import math
from typing import Unpack

import torch
from torch import Tensor

from gairlib import devices
from gairlib.errors import BadInput
from gairlib.hub import Where
from gairlib.location.base import LocationEncoder
from gairlib.location.fourier import EqualEarthRFF
from gairlib.location.spherical_harmonics import Siren, real_harmonics
from gairlib.tensor_files import Weights, both, check, count, file_of, read, shape, unwrap

GEOCLIP = ("model.safetensors", "location_encoder_weights.pth")  # in a folder
NETS = ("vit16", "resnet50", "resnet18")  # image encoders that SatCLIP was trained with
SATCLIP = tuple(f"satclip-{net}-l{n}.ckpt" for n in (40, 10) for net in NETS)
HARMONICS = ("analytic", "closed-form")


def load_geoclip(weights: Weights, *, device: str = "cpu", **where: Unpack[Where]) -> EqualEarthRFF:
    """GeoCLIP's location encoder: (lon, lat) [N, 2] -> [N, 512], float32, in eval mode.

    Source: VicenteVivan/geo-clip (MIT licence), geoclip/model/weights/location_encoder_weights.pth,
    the folder it is in, or a release folder of GeoCLIP 1.3 (config.json, model.safetensors);
    Vivanco Cepeda et al., NeurIPS 2023 (arXiv 2309.16020). The state dict of a whole GeoCLIP
    (names under "location_encoder.") is taken too; the tensors that are left over are listed in
    `unused_tensors`.

    **Order**: the published module takes (lat, lon), this one (lon, lat) like all of ours. Its
    Equal Earth constants (A1..A4, and 66.50336 / 180 for scale), the frequencies (sigma 1, 16,
    256: in the file) and the three summed MLPs are those of our "rff", which was modelled on it.
    Phases are computed in float64: the published float32 phases are off by 1e-4 at sigma 256.
    The output is what the published module returns, before GeoCLIP scales it to unit length.
    """
    what = "GeoCLIP's location encoder"
    content, source = read(file_of(weights, *GEOCLIP, **where))
    expected = [f"LocEnc0.{x}" for x in ("capsule.0.b", "capsule.1.weight", "head.0.weight")]
    others = ["image_encoder.", "logit_scale", "gps_queue"]
    state, unused = unwrap(content, source, what, expected, "location_encoder.", others, others)
    features = shape(state, "LocEnc0.capsule.0.b", 2, source, what)[0]
    hidden = shape(state, "LocEnc0.capsule.1.weight", 2, source, what)[0]
    dim = shape(state, "LocEnc0.head.0.weight", 2, source, what)[0]
    scales = range(count(state, "LocEnc"))
    layers = {
        "capsule.1": (hidden, 2 * features),
        "capsule.3": (hidden, hidden),
        "capsule.5": (hidden, hidden),
        "head.0": (dim, hidden),
    }
    shapes: dict[str, tuple[int, ...]] = {}
    for k in scales:
        shapes[f"LocEnc{k}.capsule.0.b"] = (features, 2)
        for name, size in layers.items():
            shapes |= both(f"LocEnc{k}.{name}", *size)
    check(state, shapes, source, what)

    encoder = EqualEarthRFF(dim, sigmas=[1.0] * len(scales), features=features, hidden=hidden)
    ours = {"frequencies": torch.stack([state[f"LocEnc{k}.capsule.0.b"] for k in scales]).double()}
    for k in scales:
        for i, name in enumerate(layers):
            for kind in ("weight", "bias"):
                ours[f"nets.{k}.{2 * i}.{kind}"] = state[f"LocEnc{k}.{name}.{kind}"]
    encoder.load_state_dict(ours)
    encoder.unused_tensors = unused
    return encoder.eval().to(devices.find(device))


class SatCLIPLocation(LocationEncoder):
    """SatCLIP's location encoder: spherical harmonics of degrees 0..L-1 and a SIREN.

    Continuous everywhere, one value per pole. See `load_satclip` for the conventions.
    """

    continuous_at_antimeridian = one_value_per_pole = True

    def __init__(self, dim: int, *, L: int, hidden: int, layers: int, harmonics: str) -> None:
        super().__init__()
        self.degree, self.harmonics = L - 1, harmonics
        self.nnet = Siren(L * L, hidden, dim, layers)

    def features(self, lonlat: Tensor) -> Tensor:
        scale = satclip_scale(self.degree, self.harmonics).to(self.nnet.last_layer.weight)
        return real_harmonics(lonlat, self.degree, scale.dtype) * scale

    def network(self, features: Tensor) -> Tensor:
        return self.nnet(features)

    def hidden(self, features: Tensor) -> Tensor:
        return self.nnet.hidden(features)

    def head(self, hidden: Tensor) -> Tensor:
        return self.nnet.last_layer(hidden)


def satclip_scale(degree: int, harmonics: str) -> Tensor:
    """SatCLIP's Y_l,m over ours, [(degree + 1)^2] float64.

    Its angles are phi = lon + 180 degrees and theta = lat + 90 degrees, with c = cos(theta) =
    -sin(lat). Half a turn in phi gives (-1)^m and the sign of c gives (-1)^(l+m): (-1)^l in all.
    "analytic": no Condon-Shortley phase, as ours, but the generated expressions of m = 0 have
    sqrt((2l+1) / 4 * pi) where sqrt((2l+1) / (4 pi)) is meant: pi times too large. "closed-form":
    m = 0 as ours, and (-1)^m, the Condon-Shortley phase.
    """
    ell = torch.arange(degree + 1).repeat_interleave(2 * torch.arange(degree + 1) + 1)
    m = torch.arange(len(ell)) - ell * ell - ell
    sign = 1.0 - 2.0 * (ell % 2).double()
    if harmonics == "analytic":
        return torch.where(m == 0, sign * math.pi, sign)
    return sign * (1 - 2 * (m.abs() % 2))


def load_satclip(
    weights: Weights, harmonics: str | None = None, *, device: str = "cpu", **where: Unpack[Where]
) -> SatCLIPLocation:
    """SatCLIP's location encoder: (lon, lat) [N, 2] -> [N, 256], float32, in eval mode.

    Source: microsoft/satclip (MIT licence), checkpoints microsoft/SatCLIP-* on the Hugging Face
    hub, such as satclip-vit16-l40.ckpt; Klemmer et al., AAAI 2025 (arXiv 2311.17179). A Lightning
    checkpoint ("state_dict", names under "model.location."), a SatCLIP state dict ("location.") or
    the network alone ("nnet."). What belongs to the image encoder is listed in `unused_tensors`.

    **L** ("legendre_polys", 10 or 40) counts degrees: 0..L-1, so L = 40 is our degree 39; it
    follows from the tensors. `harmonics`: which of SatCLIP's two forms of the harmonics the weights
    were trained with, "analytic" (the published checkpoints) or "closed-form" (see
    `satclip_scale`); default: what the checkpoint's hyper-parameters say, else "analytic". SIREN:
    sin(30 (W x + b)) first, sin(W x + b) after it, a linear layer last.

    The published expressions are power series that cancel at high degree (such series at L = 40
    are off by up to 7e-3 even in float64: `research.speed.spherical_harmonics`); ours are exact, so
    outputs differ by that error of theirs.
    """
    what = "SatCLIP's location encoder"
    content, source = read(file_of(weights, *SATCLIP, **where))
    given = content.get("hyper_parameters")
    settings = dict(given) if hasattr(given, "items") else {}
    expected, others = (
        ["nnet.layers.0.weight", "nnet.last_layer.weight"],
        ["visual.", "logit_scale"],
    )
    state, unused = unwrap(content, source, what, expected, "location.", others, others)
    hidden, values = shape(state, "nnet.layers.0.weight", 2, source, what)
    dim = shape(state, "nnet.last_layer.weight", 2, source, what)[0]
    layers, degrees = count(state, "nnet.layers."), math.isqrt(values)
    shapes = both("nnet.last_layer", dim, hidden)
    for i in range(layers):
        shapes |= both(f"nnet.layers.{i}", hidden, hidden if i else values)
    check(state, shapes, source, what)

    wanted = {"le_type": "sphericalharmonics", "pe_type": "siren", "legendre_polys": degrees}
    if degrees**2 != values or any(settings.get(k, v) != v for k, v in wanted.items()):
        raise BadInput(
            f"{source}: not spherical harmonics and a SIREN: {values} inputs, hyper-parameters "
            f"{ {k: settings.get(k) for k in wanted} }; other encoders of SatCLIP are not read."
        )
    said = settings.get("harmonics_calculation", harmonics or "analytic")
    if said not in HARMONICS or harmonics not in (None, said):
        raise BadInput(
            f"{source}: harmonics {harmonics or said!r}, where the checkpoint says {said!r}; it is "
            f"one of {', '.join(HARMONICS)}."
        )
    encoder = SatCLIPLocation(dim, L=degrees, hidden=hidden, layers=layers, harmonics=said)
    encoder.load_state_dict(state)
    encoder.unused_tensors = unused
    return encoder.eval().to(devices.find(device))

"""Images of torchgeo and torchgeo-bench data sets -> what our RS encoder takes.

Band names, units and offsets are explicit here, because that is where a frozen encoder is most
easily fed nonsense: torchgeo's SSL4EO-S12 weights divide digital numbers by 10,000, ours take
digital numbers; EuroSAT keeps B8A last; and GeoBench V1's m-eurosat names its channels as if it did
not (its "cirrus" has a mean of 1,849 DN: it is B11). Bands are found by name, never by count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gairlib import bands as s2
from gairlib import geo, preprocess
from gairlib.errors import BadInput

# torchgeo's order of SSL4EO-S12 level 1C, and of its level 2A
SENTINEL2_TOA = "B1 B2 B3 B4 B5 B6 B7 B8 B8a B9 B10 B11 B12".split()
SENTINEL2_SR = [b for b in SENTINEL2_TOA if b != "B10"]
# torchgeo-bench's names where gairlib.bands has others
NAMES = {
    "coastal_aerosol": "B01",
    "red_edge_1": "B05",
    "red_edge_2": "B06",
    "red_edge_3": "B07",
    "red_edge_4": "B8A",
    "nir_narrow": "B8A",
    "water_vapour": "B09",
    "swir_cirrus": "B10",
    "swir_1": "B11",
    "swir_2": "B12",
    "swir1": "B11",
    "swir2": "B12",
}
UNITS = {"dn": 1.0, "reflectance": 10000.0}  # factor to digital numbers
CIRRUS_DN = 500.0  # B10 sees no ground: means are 10 to 20 DN


def canonical(name: str) -> str | None:
    """A band's name in torchgeo's, torchgeo-bench's or our spelling -> "B02", ...; else None."""
    text = str(name).strip()
    return NAMES.get(text.lower().replace(" ", "_")) or s2.canonical(text)


class Transforms(nn.Module):
    """Raw images of a data set -> what an RS encoder takes; torchgeo's `weights.transforms`.

    bands: the C names of the images' channels, None for those of another sensor (left out). unit:
    "dn" or "reflectance". offset: DN that were added (1000 in processing baseline 04.00 and
    later), None where unknown. level: "L2A" or "L1C" where known; allow_l1c, see
    preprocess.check_dn. fill: what stands for missing bands, "mean" (of training) or "zero".
    check: look at the values on the CPU. `present` lists the bands that the images have.
    """

    def __init__(
        self,
        bands: Sequence[str | None],
        *,
        preprocessing: str,
        size: int,
        unit: str = "dn",
        offset: float | None = None,
        level: str | None = None,
        allow_l1c: bool = False,
        fill: str = "mean",
        check: bool = True,
    ) -> None:
        super().__init__()
        if unit not in UNITS:
            raise BadInput(f"unit {unit!r} is not one of {', '.join(UNITS)}.")
        if fill not in ("mean", "zero"):
            raise BadInput(f"fill must be 'mean' or 'zero', not {fill!r}.")
        preprocess.check_declared(level=level, allow_l1c=allow_l1c)
        known = [None if b is None else canonical(b) for b in bands]
        if strange := [b for b, k in zip(bands, known) if b is not None and k is None]:
            raise BadInput(
                f"bands: {strange[0]!r} is no Sentinel-2 band; name the channels as torchgeo does "
                f"({' '.join(SENTINEL2_TOA)}), None for those of another sensor."
            )
        if double := sorted({k for k in known if k is not None and known.count(k) > 1}):
            raise BadInput(f"bands: {double[0]} stands at more than one channel.")
        self.present = tuple(b for b in s2.BANDS if b in known)
        if not self.present:
            raise BadInput(f"bands: none of the {len(known)} channels is {', '.join(s2.BANDS)}.")
        self.channels, self.size, self.check = len(known), size, check
        self.unit, self.offset = unit, offset
        self.prep = preprocess.get(preprocessing)
        self.sources = [known.index(b) for b in self.present]
        self.slots = [s2.BANDS.index(b) for b in self.present]
        filled = torch.from_numpy(s2.MEAN * (fill == "mean")).float()[:, None, None]
        self.register_buffer("filled", filled, persistent=False)  # [10, 1, 1]

    def digital_numbers(self, images: Tensor) -> Float[Tensor, "b 10 h w"]:
        """Raw images [B, C, H, W] -> harmonised digital numbers, missing bands filled."""
        x = torch.as_tensor(images)
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise BadInput(
                f"images: shape {list(x.shape)}, but [B, {self.channels}, H, W] is needed, one "
                "channel for each band name."
            )
        x = x[:, self.sources].float()  # [B, k, H, W]
        if self.check and geo.checkable(x) and x.numel():
            self._check(x)
        x = x * UNITS[self.unit]
        x = torch.where(x == 0, 0.0, (x - (self.offset or 0.0)).clamp(0))
        out = self.filled.to(x.device).expand(len(x), -1, *x.shape[2:]).clone()
        out[:, self.slots] = x
        return out

    def _check(self, x: Tensor) -> None:
        """The bands that are there, before anything is filled in."""
        if self.unit == "dn":
            return preprocess.check_range(x, self.offset is not None)
        low, high = (float(v) for v in x.aminmax())
        if not (low >= -1 and high <= preprocess.BRIGHTEST_REFLECTANCE):  # also catches NaN
            raise BadInput(
                f"images: values from {low:g} to {high:g} are no reflectance (0..1, a little below "
                "for dark pixels); pass unit='dn' for digital numbers, and no standardised values."
            )
        return None

    def forward(self, images: Tensor) -> Float[Tensor, "b 10 size size"]:
        """Raw images [B, C, H, W] -> preprocessed chips."""
        return self.prep.normalise(self.digital_numbers(images), self.size)


# ------------------------------------------------------------------ what a data set's BandSpecs say


def names_of(bands: Sequence[Any], layout: str | None) -> list[str | None]:
    """Band names of the channels: by the layout, else by the specs of sensor "s2"."""
    if layout is None:
        return [b.name if str(b.sensor).lower() == "s2" else None for b in bands]
    if layout not in s2.LAYOUTS or s2.LAYOUTS[layout][1] != len(bands):
        known = ", ".join(f"{name} ({count} bands)" for name, (_, count) in s2.LAYOUTS.items())
        raise BadInput(f"layout {layout!r} with {len(bands)} bands; known are {known}.")
    names: list[str | None] = [None] * len(bands)
    for band, position in zip(s2.BANDS, s2.LAYOUTS[layout][0]):
        names[position - 1] = band
    return names


def unit_of(specs: Sequence[Any]) -> str:
    """ "dn" or "reflectance" by the bands' maxima, with torchgeo-bench's own limits."""
    high = max((float(b.max) for b in specs), default=0.0)
    if 10 < high <= 1000:
        raise BadInput(
            f"bands: maxima up to {high:g} are 8-bit values; digital numbers or reflectance are "
            "needed (gairlib.bands.from_rgb rescales true-colour images)."
        )
    return "dn" if high > 1000 else "reflectance"


def check_statistics(
    bands: Sequence[Any], names: Sequence[str | None], unit: str, offset: float | None
) -> None:
    """What the training split's statistics give away: names out of step, an offset left in."""
    for band, name in zip(bands, names):
        if name and canonical(name) == "B10" and float(band.mean) * UNITS[unit] > CIRRUS_DN:
            raise BadInput(
                f"bands: {name} has a mean of {float(band.mean):g}, but cirrus (B10) sees no "
                "ground and stays near 10 DN: names and channels are out of step. GeoBench V1's "
                "m-eurosat is such a data set, its channels are layout='eurosat-ms'."
            )
    least = min((float(b.min) for b, name in zip(bands, names) if name), default=0.0)
    if offset is None and least * UNITS[unit] >= preprocess.OFFSET:
        raise BadInput(
            f"bands: no value lies below {least:g}, so the offset of processing baseline 04.00 is "
            f"still in them; pass offset={preprocess.OFFSET} (offset=0 if it is not)."
        )

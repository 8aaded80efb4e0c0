"""What lies in a camera's view: the correction of the field's decoder "cone" (ours).

A photo shows what lies ahead of the camera, some 10 to 130 m away, not what lies under it. The
correction therefore reads a map of the chip at fixed places of the camera's frame, so many metres
ahead and to the right, turned by the heading:

    place + ahead * (sin h, -cos h) + right * (cos h, sin h)        x to the east, y to the south

and an MLP makes of these samples what is added to NILI's value at the place. Metres become
positions by the chip's own side on the ground. A chip turned by a quarter gives the same samples
for a heading turned with it; in a mirror, left and right change places. Beyond the chip's edge
nothing is known: such samples are 0, and a flag beside each sample says which are.

The map is made once for a chip: its tokens, projected, and with `pixels` a small convolutional
stem on the bands beside them, for tokens of 40 m keep little that is finer.

Without a heading (None, or NaN in single rows: no compass, or a photo of all directions) the field
is the mean over all directions. Vectors are averaged before the last, linear layer, so this is a
reading like any other: it is trained as it is read, and a projection (PCA) goes into the last
layer. Of *similarities* with one photo the soft maximum is the better union, see `any_direction`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gairlib.errors import BadInput


class View(NamedTuple):
    """What the correction reads, and how the cameras are turned."""

    map: Float[Tensor, "b c H W"]  # of `Cone.map`
    side_m: Float[Tensor, "b 2"]  # the chip's sides on the ground in metres, east and south
    heading: (
        Float[Tensor, "b q"] | None
    )  # degrees clockwise from the chip's upper edge, nan unknown


class Cone(nn.Module):
    """forward(view, xy [B, Q, 2]) -> [B, Q, D], to be added to the field at xy; starts at zero.

    distances_m, angles_deg: the samples, each distance at each angle (clockwise from straight
    ahead), distance 0 once. channels: of the map. width: of the MLP's hidden layer. pixels: whether
    the map has the bands beside the tokens. compass: False reads the samples north up whatever the
    heading, for a ring or a point as controls. directions: how many stand for all of them.
    pixel_m: metres a pixel of a chip whose side nobody stated. chunk: readings at a time (one place
    in one direction); it changes nothing but memory.
    """

    def __init__(
        self,
        dim: int,
        bands: int = 10,
        *,
        distances_m: Sequence[float] = (0, 12, 28, 50, 85, 130),
        angles_deg: Sequence[float] = (-38, -13, 13, 38),
        channels: int = 48,
        width: int = 256,
        pixels: bool = True,
        compass: bool = True,
        directions: int = 12,
        pixel_m: float = 10.0,
        chunk: int = 8192,
    ) -> None:
        super().__init__()
        if min(channels, width, directions, chunk, len(distances_m), len(angles_deg)) < 1:
            raise BadInput(
                "decoder 'cone': channels, width, directions, chunk and the numbers of distances "
                "and angles must be at least 1."
            )
        if min(distances_m) < 0 or not pixel_m > 0:
            raise BadInput("decoder 'cone': distances_m from 0 and pixel_m above 0 are needed.")
        self.compass, self.pixel_m, self.chunk = compass, pixel_m, chunk
        polar = [(d, a) for d in distances_m for a in (angles_deg if d else angles_deg[:1])]
        around = torch.arange(directions, dtype=torch.float64) * (360 / directions)
        self.register_buffer("around", around, persistent=False)  # [K] degrees
        places = [(d * math.cos(math.radians(a)), d * math.sin(math.radians(a))) for d, a in polar]
        self.register_buffer(
            "places", torch.tensor(places, dtype=torch.float64), persistent=False
        )  # [P, 2]
        self.tokens = nn.Linear(dim, channels)
        self.stem = None
        if pixels:
            self.stem = nn.Sequential(
                nn.Conv2d(bands, channels, 3, padding=1),
                nn.GELU(),
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.GELU(),
            )
        self.first = nn.Linear(len(polar) * (channels + 1), width)  # samples, then their flags
        self.last = nn.Linear(width, dim)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def sides(self, side_m: Any, images: Float[Tensor, "b k H W"]) -> Float[Tensor, "b 2"]:
        """Metres east and south of each chip, from one number, [B] or [B, 2]; None: `pixel_m`."""
        b, h, w = len(images), *images.shape[-2:]
        if side_m is None:
            side_m = [self.pixel_m * w, self.pixel_m * h]
            return torch.tensor(side_m, dtype=torch.float64, device=images.device).expand(b, 2)
        sides = torch.as_tensor(side_m, dtype=torch.float64, device=images.device)
        if sides.shape not in ((), (b,), (b, 2)):
            raise BadInput(f"side_m: shape {list(sides.shape)}, but one, [{b}] or [{b}, 2] needed.")
        return sides.reshape(*sides.shape[:1], -1).expand(b, 2)

    def map(self, images: Float[Tensor, "b k H W"], grid: Float[Tensor, "b h w d"]) -> Tensor:
        """Of preprocessed chips and their tokens: [B, c, H, W]; of tokens alone [B, c, h, w]."""
        tokens = self.tokens(grid).permute(0, 3, 1, 2)
        if self.stem is None:
            return tokens
        size = images.shape[-2:]
        return self.stem(images) + F.interpolate(tokens, size, mode="bilinear", align_corners=False)

    def forward(self, view: View, xy: Float[Tensor, "b q 2"]) -> Float[Tensor, "b q d"]:
        b, q = xy.shape[:2]
        if view.heading is not None and view.heading.shape != (b, q):
            raise BadInput(
                f"heading: shape {list(view.heading.shape)}, but xy asks for [{b}, {q}] places."
            )
        chip = torch.arange(b, device=xy.device).repeat_interleave(q)  # [B*Q]
        at = xy.reshape(b * q, 2)
        if not self.compass:
            return self._read(view, chip, at, at.new_zeros(b * q, 1)).reshape(b, q, -1)
        if view.heading is None:
            return self._read(view, chip, at, self._all_round(b * q)).reshape(b, q, -1)
        heading = view.heading.reshape(b * q, 1).to(at.dtype)
        known = heading[:, 0].isfinite()
        some, none = known.nonzero()[:, 0], (~known).nonzero()[:, 0]  # one look at the device each
        found = [
            self._read(view, chip[rows], at[rows], angles)
            for rows, angles in ((some, heading[some]), (none, self._all_round(len(none))))
            if len(rows)
        ]
        order = torch.cat((some, none)).argsort()
        return torch.cat(found)[order].reshape(b, q, -1) if found else at.new_zeros(b, q, 0)

    def _all_round(self, n: int) -> Tensor:
        return self.around.expand(n, -1)

    def _read(
        self, view: View, chip: Int[Tensor, " n"], at: Float[Tensor, "n 2"], angles: Tensor
    ) -> Float[Tensor, "n d"]:
        """The mean over the K directions `angles` [n, K] in degrees, at n places of chips."""
        size = view.map.shape[-2:]
        pixels = view.map.permute(0, 2, 3, 1).flatten(0, 2)  # [B*H*W, c]
        scale = (2 / view.side_m.to(at.dtype))[chip]  # [n, 2]: of a metre, in xy
        step = max(1, self.chunk // angles.shape[1])
        again = torch.is_grad_enabled() and len(at) > step
        parts = []
        for s in range(0, len(at), step) or [0]:
            part = (v[s : s + step] for v in (chip, at, scale, angles))
            if again:  # samples are made anew in the backward pass: P * c values a reading
                hidden = checkpoint(
                    self._hidden, pixels, size, *part, use_reentrant=False, preserve_rng_state=False
                )
            else:
                hidden = self._hidden(pixels, size, *part)
            parts.append(hidden)
        return self.last(torch.cat(parts) if len(parts) > 1 else parts[0])

    def _hidden(self, pixels: Tensor, size, chip, at, scale, angles) -> Float[Tensor, "n width"]:
        points = at[:, None, None] + self.offsets(angles) * scale[:, None, None]  # [n, K, P, 2]
        x = self.sample(pixels, size, chip, points)
        return F.gelu(self.first(x)).mean(1)

    def offsets(self, angles: Float[Tensor, "n k"]) -> Float[Tensor, "n k p 2"]:
        """Metres east and south of the place, for cameras that look at `angles` in degrees."""
        ahead, right = self.places.to(angles.dtype).unbind(1)  # [P]
        turn = torch.deg2rad(angles)[..., None]
        sin, cos = turn.sin(), turn.cos()
        return torch.stack((ahead * sin + right * cos, right * sin - ahead * cos), -1)

    def sample(
        self,
        pixels: Float[Tensor, "m c"],
        size: tuple[int, int],
        chip: Int[Tensor, " n"],
        points: Float[Tensor, "n k p 2"],
    ) -> Float[Tensor, "n k f"]:
        """The maps of size (H, W), whose rows are `pixels`, at points in [-1, 1] of chips [n]:
        P * c values, 0 beyond the edge, and P flags, 1 within."""
        h, w = size
        inside = (points.abs() <= 1 + 1e-9).all(-1)  # [n, K, P]
        index, weight = bilinear(points, h, w)  # [n, K, P, 4]
        index = index + (chip * (h * w))[:, None, None, None]
        weight = weight * inside[..., None]
        values = F.embedding_bag(
            index.reshape(-1, 4),
            pixels,
            mode="sum",
            per_sample_weights=weight.reshape(-1, 4).to(pixels.dtype),
        )
        values = values.reshape(*points.shape[:2], -1)
        return torch.cat((values, inside.to(values.dtype)), -1)


def bilinear(
    xy: Float[Tensor, "*n 2"], h: int, w: int
) -> tuple[Int[Tensor, "*n 4"], Float[Tensor, "*n 4"]]:
    """The four pixels of an image [h, w], as row * w + column, and their weights, at positions in
    [-1, 1] (corners at the outer edges); beyond the outermost centres the edge repeats."""
    last = xy.new_tensor([w - 1, h - 1])
    at = ((xy + 1) * (last + 1) / 2 - 0.5).clamp(min=0).minimum(last)
    low = at.floor().minimum((last - 1).clamp(min=0))
    share = at - low  # of the upper neighbour, along x and y
    high = (low + 1).minimum(last)
    (x0, y0), (x1, y1), (dx, dy) = (v.unbind(-1) for v in (low.long(), high.long(), share))
    index = torch.stack((y0 * w + x0, y0 * w + x1, y1 * w + x0, y1 * w + x1), -1)
    near_x, near_y = 1 - dx, 1 - dy
    return index, torch.stack((near_y * near_x, near_y * dx, dy * near_x, dy * dx), -1)


def any_direction(
    similarity: Float[Tensor, "*n k"], temperature: float | Tensor
) -> Float[Tensor, "*n"]:
    """Similarities of one photo with a place in K directions -> with the place in any direction.

    The soft maximum t log mean exp(s / t): what a contrastive softmax of temperature t gives to a
    place whose direction is unknown and all K are as likely.
    """
    return temperature * (
        torch.logsumexp(similarity / temperature, -1) - math.log(similarity.shape[-1])
    )

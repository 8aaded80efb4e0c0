"""Augmentation that keeps the geometry: what moves a chip's pixels moves the photos' positions.

Two kinds of change act on a chip, on the positions `xy` in it and on the headings of its photos
together, so a training pair stays a true pair: a crop to a square part, enlarged to the chip's
size (another place, another scale), and the eight symmetries of the square (four quarter turns,
each with or without a mirror). A mirrored world is seen in a mirror: its photos are flipped left
to right. Colour changes act on pixels alone.

All that is random is drawn first, on the CPU, for every slot of the global batch, whatever the
photos are and wherever the pixels will be worked on (`draw`). So a photo's draws depend neither on
how many devices share a batch nor on what its neighbours are.

The published code does not describe its augmentation; this is our own.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

# A crop keeps the photo it is drawn around this share of its half side away from its edge, where
# the chip has room for it.
EDGE = 0.05
# Degrees from a photo's direction beyond which a field that reads directions looks at other things
ELSEWHERE = 60.0


@dataclass(frozen=True)
class Draws:
    """All random numbers of one batch of B chips with C bands and Q slots; uniform is [0, 1)."""

    symmetry: Tensor  # [B] int64, 0..7: quarter turns, plus 4 with a mirror
    side: Tensor  # [B] float64 uniform: share of the chip's side that a crop keeps
    anchor: Tensor  # [B, Q] float64 uniform: the valid photo with the most is in the crop
    place: Tensor  # [B, 2] float64 uniform: where the crop lies around it
    bands: Tensor  # [B, 1 + C] float32 normal: gain common to all bands, gain of each
    shift: Tensor  # [B, Q, 2] float64 uniform: aim of the camera, down and right
    colour: Tensor  # [B, Q, 5] float32 normal: contrast, brightness, gains of R, G, B
    field: Tensor  # [B, F, 2] float64 uniform: points of the chip

    def part(self, rank: int, ranks: int) -> Draws:
        """The rank's consecutive part of the B chips."""
        count = len(self.symmetry) // ranks
        rows = slice(rank * count, (rank + 1) * count)
        return Draws(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def draw(chips: int, photos: int, bands: int, generator: torch.Generator, points: int = 0) -> Draws:
    """Draws for `chips` chips with `photos` slots each and `points` points, on the CPU."""
    b, q, exact = chips, photos, {"generator": generator, "dtype": torch.float64}
    return Draws(
        symmetry=torch.randint(8, (b,), generator=generator),
        side=torch.rand(b, **exact),
        anchor=torch.rand(b, q, **exact),
        place=torch.rand(b, 2, **exact),
        bands=torch.randn(b, 1 + bands, generator=generator),
        shift=torch.rand(b, q, 2, **exact),
        colour=torch.randn(b, q, 5, generator=generator),
        field=torch.rand(b, points, 2, **exact),
    )


@dataclass(frozen=True)
class Looks:
    """Random numbers for directions of view, of B chips with Q slots and P points; uniform."""

    turn: Tensor  # [B, P] float64: where each point looks
    dropped: Tensor  # [B, Q + P] float64: the lowest lose their direction

    def part(self, rank: int, ranks: int) -> Looks:
        """The rank's consecutive part of the B chips."""
        count = len(self.turn) // ranks
        rows = slice(rank * count, (rank + 1) * count)
        return Looks(self.turn[rows], self.dropped[rows])


def draw_looks(chips: int, photos: int, points: int, generator: torch.Generator) -> Looks:
    """Draws for directions of view, on the CPU."""
    exact = {"generator": generator, "dtype": torch.float64}
    return Looks(torch.rand(chips, points, **exact), torch.rand(chips, photos + points, **exact))


def look(heading: Tensor, draws: Looks, wrong: int, dropout: float) -> Tensor:
    """Where photos and points look: [B, Q + P] degrees, nan unknown.

    heading [B, Q] of the photos, nan unknown. The last Q * wrong of the P points stand where the
    photos stand, `wrong` for each one after the other, and look 90 to 270 degrees away from it; the
    others look anywhere. dropout: the share of all whose direction is forgotten.
    """
    turn = 360 * draws.turn
    own = heading.repeat_interleave(wrong, 1)  # [B, Q * wrong]
    away = turn[:, turn.shape[1] - own.shape[1] :]
    away = torch.where(own.isnan(), away, (own + 90 + away / 2) % 360)
    every = torch.cat((heading, turn[:, : turn.shape[1] - own.shape[1]], away), 1)
    return every.masked_fill(draws.dropped < dropout, torch.nan)


# ---------------------------------------------------------------- crops


def crop_boxes(xy: Tensor, valid: Tensor, draws: Draws, crop_min: float) -> Tensor:
    """Squares within the chips, each with at least one valid photo: [B, 3] float64.

    xy [B, Q, 2], valid [B, Q] -> centre x, centre y and half side in the chip's own [-1, 1]; the
    half side is a share of the chip's side, uniform in crop_min..1. A chip without a valid photo
    gets a square around its first slot.
    """
    half = crop_min + (1 - crop_min) * draws.side[:, None]  # [B, 1]
    chosen = torch.where(valid, draws.anchor, -1.0).argmax(1)
    photo = xy[torch.arange(len(xy)), chosen]  # [B, 2]
    room = 1 - half  # the centre lies within it
    low = torch.maximum(photo - half * (1 - EDGE), -room)
    high = torch.minimum(photo + half * (1 - EDGE), room)
    centre = (low + draws.place * (high - low)).clamp(-room, room)  # low > high at a chip's edge
    return torch.cat((centre, half), 1)


def crop_chips(
    chips: Tensor, xy: Tensor, valid: Tensor, boxes: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Each chip cut to its box and enlarged to the size it had, bilinearly; the edge is repeated.

    chips [B, C, S, S] on any device; xy [B, Q, 2] and valid [B, Q] move with it: photos outside of
    the box are no longer valid, and their positions are held at its edge. boxes [B, 3]: see
    crop_boxes. A crop only ever enlarges, so nothing has to be smoothed first.
    """
    centre, half = boxes[:, None, :2], boxes[:, None, 2:]
    xy = (xy - centre) / half
    valid = valid & (xy.abs() <= 1 + 1e-9).all(-1)
    theta = torch.zeros(len(boxes), 2, 3, dtype=torch.float64)
    theta[:, 0, 0] = theta[:, 1, 1] = boxes[:, 2]
    theta[:, :, 2] = boxes[:, :2]
    # sampling positions in float64, since a float32 ramp would be off by a pixel's 1e-5
    grid = F.affine_grid(theta, [len(chips), 1, *chips.shape[-2:]], align_corners=False)
    chips = F.grid_sample(
        chips, grid.to(chips), mode="bilinear", padding_mode="border", align_corners=False
    )
    return chips, xy.clamp(-1, 1), valid


# ---------------------------------------------------------------- symmetries


def turn_chip(chips: Tensor, xy: Tensor, *, turns: int, mirror: bool) -> tuple[Tensor, Tensor]:
    """Mirrors chips west to east if asked, then turns them `turns` quarter turns anticlockwise.

    chips [B, C, S, S] (north up, square), xy [B, Q, 2] in [-1, 1], x east, y south; returns both,
    moved together: the value under `xy` is the same before and after.
    """
    if mirror:
        chips = chips.flip(-1)
        xy = xy * xy.new_tensor([-1.0, 1.0])
    chips = torch.rot90(chips, turns, (-2, -1))
    for _ in range(turns % 4):  # anticlockwise on a map whose y runs south: (x, y) -> (y, -x)
        xy = torch.stack((xy[..., 1], -xy[..., 0]), -1)
    return chips, xy


def turn_heading(heading: Tensor, *, turns: int | Tensor, mirror: bool | Tensor) -> Tensor:
    """Headings in degrees clockwise from north, after the same mirror and anticlockwise turns.

    turns and mirror may be tensors that broadcast; the result is in [0, 360), nan stays nan.
    """
    heading = ((1.0 - 2.0 * mirror) * heading - 90.0 * turns) % 360.0
    return torch.where(heading == 360.0, 0.0, heading)  # of -1e-20, rounding makes 360


def turn_chips(
    chips: Tensor, xy: Tensor, heading: Tensor, symmetry: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Each chip its own symmetry: chips [B, C, S, S], xy [B, Q, 2], heading [B, Q].

    symmetry [B] int64 on the CPU, as in Draws; chips may be on another device than the rest.
    """
    turned, xy = torch.empty_like(chips), xy.clone()
    for k in range(8):
        members = (symmetry == k).nonzero().squeeze(1)
        if len(members):
            rows = members.to(chips.device)
            turned[rows], xy[members] = turn_chip(
                chips[rows], xy[members], turns=k % 4, mirror=k >= 4
            )
    turns, mirror = (symmetry % 4)[:, None].double(), (symmetry >= 4)[:, None]
    return turned, xy, turn_heading(heading, turns=turns, mirror=mirror)


# ---------------------------------------------------------------- colours


def jitter_bands(chips: Tensor, strength: float, draws: Tensor) -> Tensor:
    """Brightness common to all bands and a smaller change of each: air, sun and calibration vary.

    chips [B, C, H, W] normalised, draws [B, 1 + C] normal; gains are 1 + strength * N(0, 1), halved
    for single bands.
    """
    gain = 1 + strength * draws[:, :1] + 0.5 * strength * draws[:, 1:]
    return chips * gain[:, :, None, None].to(chips)


def jitter_photos(
    photos: Tensor, strength: float, *, shift: Tensor, colour: Tensor, mirror: Tensor
) -> Tensor:
    """Brightness, contrast, colour cast and aim of photos [N, 3, H, W] uint8.

    Returns float32 on 0..255, clipped as a camera would. Photos with `mirror` [N] are flipped left
    to right first. Then a shift by up to an eighth of the width and a sixteenth of the height in
    both directions (edges repeated) stands for another aim of the camera; shift [N, 2] uniform and
    colour [N, 5] normal as in Draws.
    """
    n, _, h, w = photos.shape
    reach = torch.tensor([h // 16, w // 8])
    down, right = ((shift * (2 * reach + 1)).floor().long() - reach).unbind(1)
    rows = (torch.arange(h) + down[:, None]).clamp(0, h - 1)  # [N, H]
    columns = (torch.arange(w) + right[:, None]).clamp(0, w - 1)  # [N, W]
    columns = torch.where(mirror[:, None], w - 1 - columns, columns)
    # one gather of the planes as they lie in memory, three times as fast as one by rows and columns
    rows, columns = rows.to(photos.device), columns.to(photos.device)
    at = (rows[:, :, None] * w + columns[:, None, :]).flatten(1)  # [N, H * W]
    x = photos.flatten(2).gather(2, at[:, None].expand(n, 3, h * w))
    # whole numbers, so that the mean does not depend on how a sum is divided over threads
    mean = (x.sum((1, 2), dtype=torch.int64).double() / (3 * h * w)).float()[:, None]
    colour = colour.to(photos.device)
    contrast = 1 + strength * colour[:, :1]
    brightness = 255 * 0.5 * strength * colour[:, 1:2]
    cast = 1 + 0.5 * strength * colour[:, 2:]  # [N, 3]
    gain, offset = contrast * cast, (mean * (1 - contrast) + brightness) * cast
    x = x.float().mul_(gain[:, :, None]).add_(offset[:, :, None]).clamp_(0, 255)
    return x.reshape(n, 3, h, w)

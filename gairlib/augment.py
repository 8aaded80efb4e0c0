"""Augmentation that keeps the geometry: what moves a chip's pixels moves the photos' positions.

The eight symmetries of the square (four quarter turns, each with or without a mirror) act on a
chip, on the positions `xy` in it and on the headings of its photos together, so a training pair
stays a true pair. A mirrored world is seen in a mirror: its photos are flipped left to right.
Colour changes act on pixels alone. Everything random comes from the generator that is passed in.

The published code does not describe its augmentation; this is our own.
"""

import torch
from torch import Tensor


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


def turn_heading(heading: Tensor, *, turns: int, mirror: bool) -> Tensor:
    """Headings in degrees clockwise from north, after the same mirror and anticlockwise turns."""
    if mirror:
        heading = -heading
    return (heading - 90.0 * turns) % 360.0


def turn_chips_at_random(
    chips: Tensor, xy: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Each chip its own symmetry. Returns chips, xy and `mirrored` [B] bool (flip those photos)."""
    which = torch.randint(8, (len(chips),), generator=generator)
    chips, xy = chips.clone(), xy.clone()
    for k in range(8):
        members = (which == k).nonzero().squeeze(1)
        if len(members):
            turns, mirror = k % 4, k >= 4
            chips[members], xy[members] = turn_chip(
                chips[members], xy[members], turns=turns, mirror=mirror
            )
    return chips, xy, which >= 4


def jitter_bands(chips: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Brightness common to all bands and a smaller change of each: air, sun and calibration vary.

    chips [B, C, H, W] normalised; gains are 1 + strength * N(0, 1), halved for single bands.
    """
    b, c = chips.shape[:2]
    common = torch.randn(b, 1, 1, 1, generator=generator)
    single = torch.randn(b, c, 1, 1, generator=generator)
    gain = 1 + strength * common + 0.5 * strength * single
    return chips * gain.to(chips)


def jitter_photos(photos: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and colour cast of photos [N, 3, H, W] uint8 or float on 0..255.

    Returns float32 on 0..255, clipped as a camera would. A shift of up to an eighth of the width
    in both directions (edges repeated) stands for another aim of the camera.
    """
    n, _, h, w = photos.shape
    x = photos.float()
    dy = torch.randint(-h // 16, h // 16 + 1, (n, 1), generator=generator)
    dx = torch.randint(-w // 8, w // 8 + 1, (n, 1), generator=generator)
    rows = (torch.arange(h) + dy).clamp(0, h - 1)  # [N, H]
    cols = (torch.arange(w) + dx).clamp(0, w - 1)  # [N, W]
    x = x[torch.arange(n)[:, None, None], :, rows[:, :, None], cols[:, None, :]]  # [N, H, W, 3]
    x = x.permute(0, 3, 1, 2)
    contrast = 1 + strength * torch.randn(n, 1, 1, 1, generator=generator)
    brightness = 255 * 0.5 * strength * torch.randn(n, 1, 1, 1, generator=generator)
    cast = 1 + 0.5 * strength * torch.randn(n, 3, 1, 1, generator=generator)
    mean = x.mean((1, 2, 3), keepdim=True)
    return (((x - mean) * contrast + mean + brightness) * cast).clamp(0, 255)

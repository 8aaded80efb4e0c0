"""Augmentation moves positions and headings with the pixels: shown on chips that encode both."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gairlib import augment

SIZE = 16


def position_chip(size: int = SIZE) -> torch.Tensor:
    """[1, 2, S, S]: each pixel holds the x and y of its own centre."""
    centres = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack((x, y))[None].double()


def read(chip: torch.Tensor, xy: torch.Tensor) -> torch.Tensor:
    """Value of the pixel under each position, [B, Q, C]."""
    size = chip.shape[-1]
    index = ((xy + 1) / 2 * size).long().clamp(0, size - 1)
    return torch.stack([c[:, i[:, 1], i[:, 0]].T for c, i in zip(chip, index)])


@given(turns=st.integers(0, 3), mirror=st.booleans(), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_turned_chip_keeps_the_value_under_each_position(turns, mirror, seed):
    chip = position_chip()
    pixel = torch.randint(SIZE, (1, 5, 2), generator=torch.Generator().manual_seed(seed))
    xy = (pixel.double() + 0.5) / SIZE * 2 - 1
    turned, moved = augment.turn_chip(chip, xy, turns=turns, mirror=mirror)
    torch.testing.assert_close(read(turned, moved), xy)
    if turns or mirror:
        assert not torch.equal(turned, chip)


@given(turns=st.integers(0, 3), mirror=st.booleans(), heading=st.floats(0, 359))
@settings(max_examples=40, deadline=None)
def test_heading_turns_with_the_chip(turns, mirror, heading):
    """A point ahead of the camera stays ahead of it."""
    radians = torch.deg2rad(torch.tensor(heading, dtype=torch.float64))
    camera = torch.tensor([0.1, -0.2], dtype=torch.float64)
    ahead = camera + 0.3 * torch.stack((radians.sin(), -radians.cos()))  # north is -y
    chip = position_chip()
    _, moved = augment.turn_chip(chip, torch.stack((camera, ahead))[None], turns=turns,
                                 mirror=mirror)
    step = moved[0, 1] - moved[0, 0]
    seen = torch.rad2deg(torch.atan2(step[0], -step[1])) % 360
    told = augment.turn_heading(torch.tensor(heading, dtype=torch.float64), turns=turns,
                                mirror=mirror)
    assert abs((seen - told + 180) % 360 - 180) < 1e-6


def test_each_chip_gets_its_own_symmetry_and_all_eight_occur():
    chips = position_chip().expand(200, -1, -1, -1)
    xy = torch.full((200, 1, 2), 0.5 / SIZE, dtype=torch.float64)
    xy[..., 1] = -5.5 / SIZE
    expected = read(chips, xy)
    turned, moved, mirrored = augment.turn_chips_at_random(
        chips, xy, torch.Generator().manual_seed(0))
    torch.testing.assert_close(read(turned, moved), expected)
    assert len({tuple(t.flatten().tolist()) for t in turned}) == 8
    assert 0.3 < mirrored.float().mean() < 0.7
    torch.testing.assert_close(chips[0], position_chip()[0])  # the input is left alone


def test_jitter_is_seeded_and_stays_in_range():
    photos = torch.randint(256, (6, 3, 32, 32), dtype=torch.uint8,
                           generator=torch.Generator().manual_seed(1))

    def once(seed):
        return augment.jitter_photos(photos, 0.2, torch.Generator().manual_seed(seed))

    assert torch.equal(once(3), once(3)) and not torch.equal(once(3), once(4))
    assert once(3).min() >= 0 and once(3).max() <= 255 and once(3).shape == photos.shape
    chips = torch.ones(4, 10, 8, 8)
    bands = augment.jitter_bands(chips, 0.1, torch.Generator().manual_seed(0))
    assert bands.std() > 0.02 and bands[0, 0].std() < 1e-6  # a gain per band, not pixel noise


@pytest.mark.parametrize("strength", [0.0])
def test_no_strength_no_change_of_colour(strength):
    photos = torch.full((2, 3, 16, 16), 90, dtype=torch.uint8)
    out = augment.jitter_photos(photos, strength, torch.Generator().manual_seed(0))
    torch.testing.assert_close(out, photos.float())

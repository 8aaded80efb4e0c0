"""Augmentation moves positions and headings with the pixels: shown on chips that encode both."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gairlib.train import augment

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
    _, moved = augment.turn_chip(
        chip, torch.stack((camera, ahead))[None], turns=turns, mirror=mirror
    )
    step = moved[0, 1] - moved[0, 0]
    seen = torch.rad2deg(torch.atan2(step[0], -step[1])) % 360
    told = augment.turn_heading(
        torch.tensor(heading, dtype=torch.float64), turns=turns, mirror=mirror
    )
    assert abs((seen - told + 180) % 360 - 180) < 1e-6


def test_headings_stay_below_360_and_unknown_ones_unknown():
    heading = torch.tensor([-1e-20, 0.0, torch.nan], dtype=torch.float64)
    out = augment.turn_heading(heading, turns=torch.tensor(0.0), mirror=torch.tensor(False))
    assert out[:2].tolist() == [0, 0] and out[2].isnan()


def test_each_chip_gets_its_own_symmetry_and_all_eight_occur():
    chips = position_chip().expand(200, -1, -1, -1)
    xy = torch.full((200, 1, 2), 0.5 / SIZE, dtype=torch.float64)
    xy[..., 1] = -5.5 / SIZE
    expected = read(chips, xy)
    draws = draw(200, 1)
    turned, moved, heading = augment.turn_chips(
        chips, xy, torch.zeros(200, 1, dtype=torch.float64), draws.symmetry
    )
    torch.testing.assert_close(read(turned, moved), expected)
    assert len({tuple(t.flatten().tolist()) for t in turned}) == 8
    assert set(heading.flatten().tolist()) == {0, 90, 180, 270}
    torch.testing.assert_close(chips[0], position_chip()[0])  # the input is left alone


# ---------------------------------------------------------------- crops, and all together

LARGE = 32


def draw(chips, photos, seed=0, bands=2):
    return augment.draw(chips, photos, bands, torch.Generator().manual_seed(seed))


def to_map(xy):
    """Pixels east and south of the chip's corner: what the chips below encode."""
    return (xy + 1) / 2 * LARGE


def bilinear(chip, xy):
    """[Q, C] at [Q, 2], between the centres of the four pixels around; written out plainly."""
    out = []
    for x, y in ((xy + 1) / 2 * chip.shape[-1] - 0.5).tolist():
        x, y = (min(max(v, 0.0), chip.shape[-1] - 1.001) for v in (x, y))
        i, j, dx, dy = int(y), int(x), x - int(x), y - int(y)
        out.append(
            chip[:, i, j] * (1 - dy) * (1 - dx)
            + chip[:, i, j + 1] * (1 - dy) * dx
            + chip[:, i + 1, j] * dy * (1 - dx)
            + chip[:, i + 1, j + 1] * dy * dx
        )
    return torch.stack(out)


@given(seed=st.integers(0, 10**6), crop_min=st.floats(0.1, 1.0), reach=st.floats(0.0, 1.0))
@settings(max_examples=40, deadline=None)
def test_any_composition_keeps_place_and_heading_of_each_photo(seed, crop_min, reach):
    """float32 chips that hold their own position: what is read at the new xy is the photo's."""
    generator = torch.Generator().manual_seed(seed)
    b, q = 4, 5
    chips = to_map(position_chip(LARGE)).float().expand(b, -1, -1, -1)
    xy = (torch.rand(b, q, 2, generator=generator, dtype=torch.float64) * 2 - 1) * reach
    heading = torch.rand(b, q, generator=generator, dtype=torch.float64) * 360
    valid = torch.rand(b, q, generator=generator) < 0.6
    valid[:, 0] = True
    draws = draw(b, q, seed)

    boxes = augment.crop_boxes(xy, valid, draws, crop_min)
    cut, moved, kept = augment.crop_chips(chips, xy, valid, boxes)
    assert cut.dtype == torch.float32 and cut.shape == chips.shape
    out, moved, turned = augment.turn_chips(cut, moved, heading, draws.symmetry)

    assert kept.any(1).all() and not (kept & ~valid).any()
    assert moved.abs().max() <= 1
    away = (boxes[:, None, :2] - xy).abs().amax(-1)  # from the middle of the box
    assert (away[kept] <= boxes[:, 2:].expand(b, q)[kept] + 1e-9).all()
    assert (away[valid & ~kept] > boxes[:, 2:].expand(b, q)[valid & ~kept]).all()
    radians = torch.deg2rad(heading)
    ahead = xy + 1e-3 * torch.stack((radians.sin(), -radians.cos()), -1)  # in the old chip
    radians = torch.deg2rad(turned)
    step = 1e-3 * torch.stack((radians.sin(), -radians.cos()), -1) / boxes[:, None, 2:]
    for k in range(b):
        # where neither chip repeats its edge (half a pixel): what is read in the new one lies
        # between pixels that were read up to a pixel further out in the old one
        for photo in torch.nonzero(kept[k]).flatten().tolist():
            old = torch.stack((xy[k, photo], ahead[k, photo])).abs().max()
            new = torch.stack((moved[k, photo], moved[k, photo] + step[k, photo])).abs().max()
            if old >= 1 - 3.1 / LARGE or new >= 1 - 1.1 / LARGE:
                continue
            found = bilinear(out[k].double(), moved[k, photo][None])[0]
            assert (found - to_map(xy[k, photo])).abs().max() < 1e-4
            found = bilinear(out[k].double(), (moved[k, photo] + step[k, photo])[None])[0]
            assert (found - to_map(ahead[k, photo])).abs().max() < 1e-4


@given(seed=st.integers(0, 10**6), crop_min=st.floats(0.1, 0.9))
@settings(max_examples=30, deadline=None)
def test_crop_boxes_lie_in_the_chip_and_hold_a_photo_off_their_edge(seed, crop_min):
    xy = torch.rand(50, 3, 2, generator=torch.Generator().manual_seed(seed)).double() * 2 - 1
    valid = torch.tensor([True, False, True]).expand(50, 3)
    boxes = augment.crop_boxes(xy, valid, draw(50, 3, seed), crop_min)
    centre, half = boxes[:, :2], boxes[:, 2]
    assert half.min() >= crop_min and half.max() <= 1 and half.std() > 0.1 * (1 - crop_min)
    assert ((centre.abs().amax(1) + half) <= 1 + 1e-12).all()
    relative = ((xy - centre[:, None]) / half[:, None, None]).abs()
    room = (xy.abs() <= 1 - augment.EDGE).all(-1)  # photos that no crop has to press to its edge
    good = (relative <= torch.where(room, 1 - augment.EDGE, 1.0)[..., None] + 1e-9).all(-1)
    assert (good & valid).any(1).all()


def test_crop_of_half_the_side_is_what_it_says():
    """The north-west quarter, with one photo in it and one outside."""
    chips = position_chip(LARGE)
    xy = torch.tensor([[[-0.5, -0.75], [0.25, -0.5]]], dtype=torch.float64)
    boxes = torch.tensor([[-0.5, -0.5, 0.5]], dtype=torch.float64)
    cut, moved, valid = augment.crop_chips(chips, xy, torch.tensor([[True, True]]), boxes)
    assert valid.tolist() == [[True, False]]
    assert moved.tolist() == [[[0.0, -0.5], [1.0, 0.0]]]
    expected = position_chip(LARGE) / 2 - 0.5
    torch.testing.assert_close(cut[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1])


def test_draws_do_not_depend_on_who_takes_them():
    whole = draw(6, 3, seed=4)
    for ranks in (1, 2, 3):
        parts = [whole.part(r, ranks) for r in range(ranks)]
        for name in ("symmetry", "side", "anchor", "place", "bands", "shift", "colour"):
            joined = torch.cat([getattr(p, name) for p in parts])
            assert torch.equal(joined, getattr(whole, name)), name
    assert not torch.equal(whole.anchor, draw(6, 3, seed=5).anchor)


# ---------------------------------------------------------------- colours


def jitter(photos, strength, seed=0, **changes):
    draws = draw(1, len(photos), seed)
    taken = {
        "shift": draws.shift[0],
        "colour": draws.colour[0],
        "mirror": torch.zeros(len(photos), dtype=torch.bool),
    } | changes
    return augment.jitter_photos(photos, strength, **taken)


def test_jitter_follows_its_draws_and_stays_in_range():
    photos = torch.randint(
        256, (6, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    assert torch.equal(jitter(photos, 0.2, 3), jitter(photos, 0.2, 3))
    assert not torch.equal(jitter(photos, 0.2, 3), jitter(photos, 0.2, 4))
    out = jitter(photos, 0.9)
    assert out.min() >= 0 and out.max() <= 255 and out.shape == photos.shape
    draws = draw(4, 1, bands=10).bands
    bands = augment.jitter_bands(torch.ones(4, 10, 8, 8), 0.1, draws)
    assert bands.std() > 0.02 and bands[0, 0].std() < 1e-6  # a gain per band, not pixel noise


def test_jitter_against_its_definition():
    """Oracle: each photo and pixel by itself."""
    h, w, strength = 32, 48, 0.15
    generator = torch.Generator().manual_seed(2)
    photos = torch.randint(256, (5, 3, h, w), dtype=torch.uint8, generator=generator)
    draws = draw(1, 5, 7)
    shift, colour = draws.shift[0], draws.colour[0].double()
    shift[0], shift[1] = 0.0, 1 - 1e-12  # the furthest shifts
    mirror = torch.tensor([True, False, True, False, True])
    out = jitter(photos, strength, 7, shift=shift, mirror=mirror)
    for n in range(5):
        photo = photos[n].flip(-1) if mirror[n] else photos[n]
        dy = int(shift[n, 0] * 5) - 2  # a sixteenth of 32
        dx = int(shift[n, 1] * 13) - 6  # an eighth of 48
        x = torch.stack(
            [
                torch.stack(
                    [
                        photo[:, min(max(i + dy, 0), h - 1), min(max(j + dx, 0), w - 1)]
                        for j in range(w)
                    ],
                    -1,
                )
                for i in range(h)
            ],
            -2,
        ).double()
        c, b, *cast = colour[n]
        x = (x - x.mean()) * (1 + strength * c) + x.mean() + 127.5 * strength * b
        x = x * (1 + 0.5 * strength * torch.stack(cast))[:, None, None]
        torch.testing.assert_close(out[n].double(), x.clamp(0, 255), atol=1e-3, rtol=0)


def test_no_strength_no_change_of_colour():
    photos = torch.full((2, 3, 16, 16), 90, dtype=torch.uint8)
    assert torch.equal(jitter(photos, 0.0), photos.float())

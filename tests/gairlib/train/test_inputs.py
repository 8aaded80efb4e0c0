"""Inputs of a step: whole or in shares and parts, now or made ahead, always the same."""

import threading
import time
from dataclasses import dataclass, fields, replace

import pytest
import torch

from gairlib import preprocess
from gairlib.config import GAIRConfig
from gairlib.errors import BadInput
from gairlib.train import inputs
from gairlib.train.batches import Batch

B, Q, PX, SIZE = 8, 4, 16, 24
CONFIG = GAIRConfig.preset("small", rs_size=PX, sv_size=SIZE)


@dataclass(frozen=True)
class Options:
    """What `make` reads of PretrainOptions."""

    seed: int = 3
    band_jitter: float = 0.05
    photo_jitter: float = 0.15
    crop_min: float = 1.0
    field_points: int = 5


def batch_of(seed=0, px=PX, size=SIZE) -> Batch:
    g = torch.Generator().manual_seed(seed)
    valid = torch.rand(B, Q, generator=g) < 0.6
    valid[:, 0] = True
    exact = {"generator": g, "dtype": torch.float64}
    heading = torch.rand(B, Q, **exact) * 360
    heading[0] = torch.nan
    return Batch(
        chips=torch.randint(1, 5000, (B, 10, px, px), generator=g).float(),
        photos=torch.randint(256, (B, Q, 3, size, size), generator=g, dtype=torch.uint8),
        xy=torch.rand(B, Q, 2, **exact) * 1.8 - 0.9,
        lonlat=torch.rand(B, Q, 2, **exact) * 50,
        heading=heading,
        valid=valid,
        side_m=torch.rand(B, **exact) * 1000,
        number=torch.arange(B * Q).reshape(B, Q),
        photo_ids=[f"p{slot}" for slot in valid.flatten().nonzero().flatten().tolist()],
    )


def rank_part(batch: Batch, rank: int, ranks: int) -> Batch:
    rows = slice(rank * B // ranks, (rank + 1) * B // ranks)
    cut = {f.name: getattr(batch, f.name)[rows] for f in fields(batch) if f.name != "photo_ids"}
    slots = batch.valid.flatten().nonzero().flatten() // Q
    ids = [i for i, c in zip(batch.photo_ids, slots.tolist()) if rows.start <= c < rows.stop]
    return Batch(**cut, photo_ids=ids)


def same(one: inputs.Inputs, two: inputs.Inputs) -> None:
    for f in fields(one):
        a, b = getattr(one, f.name), getattr(two, f.name)
        if a is None or isinstance(a, list):
            assert a == b
        else:
            assert a.dtype == b.dtype, f.name
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def join(parts: list[inputs.Inputs]) -> inputs.Inputs:
    chips, found = 0, {f.name: [] for f in fields(inputs.Inputs)}
    for part in parts:
        moved = replace(part, chip=part.chip + chips, keep=part.keep + chips * Q)
        chips += len(part.chips)
        for name, values in found.items():
            values.append(getattr(moved, name))
    ids = sum(found.pop("photo_ids"), [])
    joined = {k: None if v[0] is None else torch.cat(v) for k, v in found.items()}
    return inputs.Inputs(**joined, photo_ids=ids)


@pytest.mark.parametrize("crop_min", [1.0, 0.3])
@pytest.mark.parametrize("px, size", [(PX, SIZE), (19, 30)])
def test_ranks_see_what_one_rank_sees(crop_min, px, size):
    options, batch = Options(crop_min=crop_min), batch_of(px=px, size=size)
    whole = inputs.make(batch, CONFIG, options, 5)
    for ranks in (2, 4, 8):
        parts = [
            inputs.make(rank_part(batch, r, ranks), CONFIG, options, 5, share=(r, ranks))
            for r in range(ranks)
        ]
        same(join(parts), whole)


@pytest.mark.parametrize("parts", [1, 2, 3, 8, 20])
def test_parts_put_together_are_the_whole(parts):
    whole = inputs.make(batch_of(), CONFIG, Options(crop_min=0.5), 1)
    split = whole.split(parts)
    assert len(split) == min(parts, B)
    sizes = [len(p.chips) for p in split]
    assert max(sizes) - min(sizes) <= 1
    for part in split:
        assert part.chip.min() == 0 and part.chip.max() == len(part.chips) - 1
        assert torch.equal(part.keep // Q, part.chip)
        assert len(part.photo_ids) == len(part.keep) == len(part.photos)
    same(join(split), whole)


def test_without_randomness_inputs_are_the_normalised_batch():
    """Only the symmetry is left: photos of chips that are not mirrored, up to their shift."""
    batch = batch_of()
    batch.photos[:] = batch.photos[..., :1, :1]  # one colour each
    made = inputs.make(batch, CONFIG, Options(band_jitter=0.0, photo_jitter=0.0), 0)
    prep = preprocess.get(CONFIG.preprocessing)
    assert torch.equal(made.keep, batch.valid.flatten().nonzero().flatten())
    assert made.photo_ids == batch.photo_ids == [f"p{k}" for k in made.keep.tolist()]
    assert torch.equal(made.lonlat, batch.lonlat[batch.valid])
    assert torch.equal(made.photos, prep.sv(batch.photos[batch.valid], SIZE))
    chips, seen = prep.rs(batch.chips, PX), set()
    for k in range(B):  # no crop: each chip is one of eight copies, to the last bit
        copies = [
            torch.rot90(c, t, (-2, -1)) for c in (chips[k], chips[k].flip(-1)) for t in range(4)
        ]
        seen |= {i for i, c in enumerate(copies) if torch.equal(c, made.chips[k])}
        which = [i for i, c in enumerate(copies) if torch.equal(c, made.chips[k])]
        assert len(which) == 1
        turned = (batch.heading[k] * (1 if which[0] < 4 else -1) - 90 * (which[0] % 4)) % 360
        torch.testing.assert_close(
            made.heading[made.chip == k], turned[batch.valid[k]], equal_nan=True
        )
    assert len(seen) > 2


def test_photos_outside_of_a_crop_are_gone_everywhere():
    batch, options = batch_of(), Options(crop_min=0.3)
    made = inputs.make(batch, CONFIG, options, 2)
    assert 0 < len(made.keep) < len(batch.photo_ids)
    assert made.photo_ids == [f"p{k}" for k in made.keep.tolist()]
    assert torch.equal(made.lonlat, batch.lonlat.flatten(0, 1)[made.keep])
    assert len(made.photos) == len(made.heading) == len(made.chip) == len(made.keep)
    assert set(made.chip.tolist()) == set(range(B)) and made.xy.abs().max() <= 1
    whole = inputs.make(batch, CONFIG, Options(), 2)  # crops change no other draw
    rows = torch.isin(whole.keep, made.keep)
    assert torch.equal(whole.photos[rows], made.photos)


def test_inputs_depend_on_seed_and_step_alone():
    batch, before = batch_of(), batch_of()
    one = inputs.make(batch, CONFIG, Options(crop_min=0.4), 7)
    torch.rand(3)
    same(one, inputs.make(batch, CONFIG, Options(crop_min=0.4), 7))
    for other in (
        inputs.make(batch, CONFIG, Options(crop_min=0.4), 8),
        inputs.make(batch, CONFIG, Options(crop_min=0.4, seed=4), 7),
    ):
        assert not torch.equal(one.chips, other.chips)
    assert torch.equal(batch.chips, before.chips) and torch.equal(batch.xy, before.xy)
    same(one, one.to("cpu"))


# ---------------------------------------------------------------- made ahead


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_inputs_made_ahead_are_those_made_now(ahead):
    def make(step):
        return inputs.make(batch_of(step), CONFIG, Options(crop_min=0.5), step)

    steps = []
    with inputs.Ahead(make, range(2, 7), ahead=ahead) as found:
        for step, made in found:
            same(made, make(step))
            steps.append(step)
    assert steps == [2, 3, 4, 5, 6] and found.waited > 0


def test_at_most_so_many_are_made_ahead_by_one_thread():
    made, threads = [], set()

    def make(step):
        made.append(step)
        threads.add(threading.current_thread())
        return step

    with inputs.Ahead(make, range(100), ahead=2) as found:
        for step, value in found:
            assert value == step
            time.sleep(0.01)
            assert max(made) <= step + 2
            if step == 5:
                break
    assert len(threads) == 1 and not threads.pop().is_alive()  # closed by the with
    assert list(found) == []


@pytest.mark.parametrize("ahead", [0, 1])
def test_an_error_comes_with_its_step_and_ends_the_thread(ahead):
    def make(step):
        if step == 2:
            raise KeyboardInterrupt if ahead else BadInput("step 2 is broken")
        return step

    before = threading.active_count()
    done = []
    with pytest.raises(KeyboardInterrupt if ahead else BadInput):
        for step, _ in inputs.Ahead(make, range(5), ahead=ahead):  # without a with
            done.append(step)
    assert done == [0, 1] and threading.active_count() == before


def test_an_interrupted_step_ends_the_thread():
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt), inputs.Ahead(lambda s: s, range(9), ahead=1) as found:
        for _ in found:
            raise KeyboardInterrupt
    assert threading.active_count() == before


def test_waiting_is_added_up():
    def slow(step):
        time.sleep(0.05)
        return step

    with inputs.Ahead(slow, range(3), ahead=0) as now:
        list(now)
    assert now.waited >= 0.15
    with inputs.Ahead(slow, range(3), ahead=2) as hidden:
        for _ in hidden:
            time.sleep(0.2)
    assert hidden.waited < now.waited + 0.2  # the first is waited for
    with pytest.raises(BadInput, match="ahead is -1"):
        inputs.Ahead(slow, range(3), ahead=-1)

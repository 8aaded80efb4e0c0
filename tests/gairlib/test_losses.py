"""InfoNCE against a naive oracle, forward and gradient, and the exclusion by distance."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from gairlib import geo, losses
from gairlib.errors import BadInput


def naive(queries, keys, temperature, extra=None, exclude=None):
    """One softmax at a time, in words."""
    n = len(queries)
    everything = keys if extra is None else torch.cat([keys, extra])
    if exclude is None:
        exclude = torch.zeros(n, len(everything), dtype=torch.bool)

    def direction(rows, columns, mask):
        total, hits = 0.0, 0
        for i in range(n):
            kept = [j for j in range(len(columns)) if not mask[i, j]]
            logits = torch.stack([rows[i] @ columns[j] / temperature for j in kept])
            total = total - logits[kept.index(i)] + torch.logsumexp(logits, 0)
            hits += kept[int(logits.argmax())] == i
        return total / n, hits / n

    loss, accuracy = direction(queries, everything, exclude)
    back, right = direction(keys, queries, exclude[:, :n].T)
    return (loss + back) / 2, (accuracy + right) / 2


def batch(n=11, m=5, d=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    q, k, e = (
        F.normalize(torch.randn(s, d, generator=g, dtype=torch.float64), dim=-1) for s in (n, n, m)
    )
    mask = torch.rand(n, n + m, generator=g) < 0.3
    mask.diagonal().fill_(False)
    return [v.requires_grad_() for v in (q, k, e)], mask


@pytest.mark.parametrize("chunk", [None, 1, 4, 11, 100])
@pytest.mark.parametrize("use_extra", [True, False])
@pytest.mark.parametrize("use_exclude", [True, False])
def test_against_naive(chunk, use_extra, use_exclude):
    (q, k, extra), mask = batch()
    mask = mask if use_extra else mask[:, : len(q)]
    extra, mask = extra if use_extra else None, mask if use_exclude else None
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    leaves = [q, k, temperature] + ([extra] if use_extra else [])
    want, accuracy = naive(q, k, temperature, extra, mask)
    got = losses.info_nce(
        q, k, temperature=temperature, extra_keys=extra, exclude=mask, chunk_size=chunk
    )
    assert set(got) == {"loss", "accuracy"}
    torch.testing.assert_close(got["loss"], want, atol=1e-12, rtol=1e-10)
    assert got["accuracy"].item() == pytest.approx(accuracy)
    for a, b in zip(torch.autograd.grad(got["loss"], leaves), torch.autograd.grad(want, leaves)):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-9)


class Largest(TorchDispatchMode):
    """The most values that any operation returned in one tensor."""

    values = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.values = max(self.values, out.numel())
        return out


def test_chunks_bound_the_memory():
    """Forward and backward: no tensor of N x N logits, and none is kept for the backward pass."""
    q, k = (torch.randn(512, 8, requires_grad=True) for _ in range(2))

    def largest(chunk):
        kept = []
        with (
            Largest() as seen,
            torch.autograd.graph.saved_tensors_hooks(
                lambda t: kept.append(t.numel()) or t, lambda t: t
            ),
        ):
            losses.info_nce(q, k, temperature=0.1, chunk_size=chunk)["loss"].backward()
        return seen.values, max(kept)

    assert largest(None)[0] >= 512 * 512 and largest(32)[0] <= 512 * 32
    assert largest(None)[1] <= 512 * 8 and largest(32)[1] <= 512 * 8


def test_inputs_are_taken_as_given():
    (q, k, _), _ = batch()
    a, b = (losses.info_nce(s * q, k, temperature=0.1)["loss"] for s in (1, 2))
    assert abs(a - b) > 1e-3


def test_uninformative_vectors_give_log_n():
    q = torch.ones(8, 4)
    got = losses.info_nce(q, q, temperature=0.07, extra_keys=torch.ones(8, 4))
    assert got["loss"].item() == pytest.approx((math.log(16) + math.log(8)) / 2, rel=1e-5)


@given(st.integers(2, 12), st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_permutation_invariance(n, seed):
    (q, k, extra), mask = batch(n=n, seed=seed)
    p = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    moved = torch.cat([mask[:, :n][p][:, p], mask[p, n:]], 1)
    a = losses.info_nce(q, k, temperature=0.2, extra_keys=extra, exclude=mask)
    b = losses.info_nce(q[p], k[p], temperature=0.2, extra_keys=extra, exclude=moved)
    torch.testing.assert_close(a["loss"], b["loss"])


def test_half_precision_logits_are_float32():
    (q, k, _), _ = batch(n=32, d=16)
    low = losses.info_nce(q.bfloat16(), k.bfloat16(), temperature=0.07)["loss"]
    assert low.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        cast = losses.info_nce(q.float(), k.float(), temperature=0.07)["loss"]
    assert cast.item() == pytest.approx(
        losses.info_nce(q.float(), k.float(), temperature=0.07)["loss"].item(), rel=1e-6
    )


def test_refusals():
    (q, k, extra), mask = batch()
    for arguments in (
        {"keys": k[:-1]},
        {"extra_keys": extra[:, :2]},
        {"exclude": mask[:, :-1]},
        {"exclude": mask.int()},
        {"chunk_size": 0},
        {"exclude": mask | torch.eye(11, 16, dtype=torch.bool)},
    ):
        call = {"queries": q, "keys": k, "extra_keys": extra, **arguments}
        with pytest.raises(BadInput, match="info_nce"):
            losses.info_nce(call.pop("queries"), call.pop("keys"), temperature=0.1, **call)


@given(st.floats(0, 2e7), st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_exclude_near_against_haversine(metres, seed):
    g = torch.Generator().manual_seed(seed)
    points = torch.rand(12, 2, generator=g).double() * torch.tensor([360, 180]) - torch.tensor(
        [180, 90]
    )
    want = geo.haversine(points[:8, None], points[None]) <= metres
    want.diagonal().fill_(False)
    assert torch.equal(losses.exclude_near(points[:8], points, metres), want)


def test_exclude_near_at_metres():
    """20 m is 1.8e-4 degrees: far below what float32 or a dot product would resolve."""
    lonlat = [[10.0, 60.0], [10.0, 60.0 + 0.9 * 20 / 111195], [10.0, 60.0 + 1.1 * 20 / 111195]]
    mask = losses.exclude_near(lonlat, lonlat + [[370.0, 60.0], [-170.0, -60.0]], 20)
    assert mask.tolist() == [
        [False, True, False, True, False],
        [True, False, True, True, False],
        [False, True, False, False, False],
    ]
    same = losses.exclude_near([[1.0, 2.0], [1.0, 2.0]], [[1.0, 2.0], [1.0, 2.0]], 0)
    assert same.tolist() == [[False, True], [True, False]]
    assert losses.exclude_near(lonlat, lonlat, 1e9).sum() == 6


def test_incl_and_secl_are_info_nce_on_unit_vectors():
    g = torch.Generator().manual_seed(1)
    sv, local, queue = torch.randn(4, 3, 8, generator=g), torch.randn(4, 3, 8, generator=g), None
    lonlat = torch.rand(4, 3, 2, generator=g).double() * 1e-3
    q, k = F.normalize(sv.flatten(0, 1), dim=-1), F.normalize(local.flatten(0, 1), dim=-1)
    points = lonlat.flatten(0, 1)
    near = losses.exclude_near(points, points, 20)
    got = losses.incl(sv, local, temperature=0.07, exclude=near, chunk_size=5)
    want = losses.info_nce(q, k, temperature=0.07, exclude=near)
    torch.testing.assert_close(got, want)
    queue, old = torch.randn(6, 8, generator=g), torch.rand(6, 2, generator=g).double() * 1e-3
    old[0] = points[3]
    got = losses.secl(
        sv, local, temperature=0.1, queue=queue, lonlat=lonlat, queue_lonlat=old, exclude_metres=0
    )
    mask = torch.zeros(12, 18, dtype=torch.bool)
    mask[3, 12] = True
    want = losses.info_nce(
        q, k, temperature=0.1, extra_keys=F.normalize(queue, dim=-1), exclude=mask
    )
    torch.testing.assert_close(got, want)
    with pytest.raises(BadInput, match="queue_lonlat"):
        losses.secl(sv, local, temperature=0.1, queue=queue, lonlat=lonlat, exclude_metres=5)


# ---------------------------------------------------------------------------- within a chip


def chips_and_photos(n=11, b=4, f=5, d=8, seed=0):
    g = torch.Generator().manual_seed(seed)
    sv, local = (torch.randn(n, d, generator=g) for _ in range(2))
    field = 3 * torch.randn(b, f, d, generator=g)
    chip = torch.randint(b, (n,), generator=g)  # in no order
    exclude = torch.rand(n, f, generator=g) < 0.3
    exclude[2] = True  # a photo that has no negative left
    return sv, local, field, chip, exclude


def in_chip_by_hand(sv, local, field, chip, temperature, exclude):
    """One photo after the other: cosines to its own place and to what is left of its chip."""
    rows, hits = [], []
    for i, at in enumerate(chip.tolist()):
        points = torch.cat([local[i][None], field[at][~exclude[i]]])
        cosines = torch.cosine_similarity(points, sv[i][None], dim=-1)
        rows.append(-torch.log_softmax(cosines / temperature, 0)[0])
        hits.append(bool(cosines.argmax() == 0))
    return torch.stack(rows).mean(), sum(hits) / len(hits)


@pytest.mark.parametrize("chunk", [None, 1, 4, 11, 50])
def test_in_chip_is_its_definition_with_gradients_in_chunks_of_any_size(chunk):
    sv, local, field, chip, exclude = chips_and_photos()
    leaves = [
        [v.double().requires_grad_() for v in (sv, local, field, torch.tensor(0.1))]
        for _ in range(2)
    ]
    found = losses.in_chip(
        *leaves[0][:3], chip, temperature=leaves[0][3], exclude=exclude, chunk_size=chunk
    )
    want, hits = in_chip_by_hand(*leaves[1][:3], chip, leaves[1][3], exclude)
    torch.testing.assert_close(found["loss"], want, rtol=1e-9, atol=1e-9)
    assert float(found["accuracy"]) == pytest.approx(hits)
    found["loss"].backward(), want.backward()
    for got, expected in zip(*leaves):
        torch.testing.assert_close(got.grad, expected.grad, rtol=1e-8, atol=1e-10)


def test_chunks_bound_what_in_chip_keeps_for_the_backward_pass():
    """Without them it keeps F x D values a photo; with them its chips' fields and little more."""
    n, b, f, d = 256, 8, 16, 32
    g = torch.Generator().manual_seed(0)
    sv, local, field = (
        torch.randn(*shape, generator=g, requires_grad=True)
        for shape in ((n, d), (n, d), (b, f, d))
    )
    chip = torch.arange(n) % b

    def kept(chunk):
        sizes = {}

        def pack(tensor):
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            losses.in_chip(sv, local, field, chip, temperature=0.1, chunk_size=chunk)
        return max(sizes.values())

    assert kept(None) == 4 * n * f * d
    assert kept(32) <= 4 * max(n * d, b * f * d, n * (f + 1))


def test_in_chip_refuses_shapes_that_do_not_belong_together():
    sv, local, field, chip, _ = chips_and_photos()
    for wrong in (
        (sv, local[1:], field, chip),
        (sv, local, field[..., 1:], chip),
        (sv, local, field[0], chip),
        (sv, local, field, chip[1:]),
    ):
        with pytest.raises(BadInput, match="in_chip"):
            losses.in_chip(*wrong, temperature=0.1)

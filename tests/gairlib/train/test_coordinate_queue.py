"""The ring buffer against a plain list."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gairlib.errors import BadInput
from gairlib.train.coordinate_queue import CoordinateQueue


@given(st.integers(0, 9), st.lists(st.integers(0, 25), max_size=12))
def test_against_a_list(size, batches):
    queue, memory, serial = CoordinateQueue(size), [], 0
    for n in batches:
        rows = [[float(serial + i) % 180, float(serial + i) / 1e4] for i in range(n)]
        serial += n
        queue.push(torch.tensor(rows).reshape(-1, 2))
        memory = (memory + rows)[-size:] if size else []
        assert len(queue) == len(memory)
        torch.testing.assert_close(
            queue.valid(),
            torch.tensor(memory, dtype=torch.float64).reshape(-1, 2),
            atol=1e-5,
            rtol=0,
        )


def test_keeps_float64_and_copies():
    queue = CoordinateQueue(4)
    exact = torch.tensor([[116.39712345678, 39.90812345678]], dtype=torch.float64)
    queue.push(exact)
    assert torch.equal(queue.valid(), exact)
    held = queue.valid()
    queue.push([[0, 0]] * 4)
    assert torch.equal(held, exact)


def test_state_round_trip():
    a, b = CoordinateQueue(3), CoordinateQueue(3)
    a.push([[1, 1], [2, 2]])
    a.push([[3, 3], [4, 4]])
    b.load_state_dict(a.state_dict())
    for queue in (a, b):
        queue.push([[5, 5]])
    assert torch.equal(a.valid(), b.valid()) and a.valid()[:, 0].tolist() == [3, 4, 5]
    with pytest.raises(BadInput, match="queue"):
        CoordinateQueue(4).load_state_dict(a.state_dict())


def test_refusals():
    with pytest.raises(BadInput, match="lonlat"):
        CoordinateQueue(2).push([[0, 91]])
    with pytest.raises(BadInput, match="size"):
        CoordinateQueue(-1)

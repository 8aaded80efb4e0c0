"""Reading Zarr shards by byte range, against zarr itself."""

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from gairlib.pairs import shards


@settings(max_examples=60, deadline=None)
@given(start=st.integers(0, 5000), length=st.integers(0, 5000))
def test_any_span_of_bytes(spans, start, length):
    values, reader = spans
    stop = min(start + length, len(values))
    start = min(start, stop)
    assert reader.span(start, stop) == values[start:stop].tobytes()


@pytest.fixture(scope="module")
def spans(tmp_path_factory):
    """5,000 bytes in shards of four chunks of 100; some chunks and one whole shard are zeros."""
    folder = tmp_path_factory.mktemp("spans")
    values = np.random.default_rng(0).integers(0, 255, 5000).astype(np.uint8)
    values[300:600] = 0
    values[1200:1700] = 0
    array = zarr.create_array(
        folder / "a",
        shape=values.shape,
        dtype=np.uint8,
        chunks=(100,),
        shards=(400,),
        compressors=None,
        fill_value=0,
    )
    array[:] = values
    return values, shards.open_local(folder / "a")


def test_other_layouts_are_left_to_zarr(tmp_path):
    plain = {"shape": (10, 4), "dtype": np.int16}
    for number, other in enumerate(
        (
            {"chunks": (2, 4)},  # no shards
            {"chunks": (2, 2), "shards": (4, 4)},  # cut along the second dimension as well
            {"chunks": (2, 4), "shards": (4, 4), "compressors": zarr.codecs.GzipCodec()},
            {"chunks": (2, 4), "shards": (4, 4), "fill_value": 7},
        )
    ):
        zarr.create_array(tmp_path / f"{number}", **plain, **other)[:] = 1
        assert shards.open_local(tmp_path / f"{number}") is None
    assert shards.open_local(tmp_path / "nothing") is None

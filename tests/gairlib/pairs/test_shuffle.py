"""Photos brought together by scene."""

import numpy as np
import pandas as pd
import pytest

from gairlib.pairs import shuffle


@pytest.mark.parametrize("crowd, bucket", [(10**9, 10**9), (5, 10**9), (10**9, 9), (5, 9)])
def test_shuffle_brings_every_row_to_its_scene_once(tmp_path, crowd, bucket):
    rng = np.random.default_rng(1)
    files, expected = [], {}
    for number in range(3):
        candidates = [list(rng.permutation(5)[: rng.integers(1, 4)]) for _ in range(20)]
        rows = np.arange(20) + 20 * number
        frame = pd.DataFrame(
            {
                "_row": rows,
                "lon": rng.uniform(0, 0.3, 20),
                "lat": rng.uniform(0, 0.3, 20),
                "_candidates": candidates,
            }
        )
        frame["_candidates"] = frame["_candidates"].map(lambda c: np.array(c, np.int32))
        files.append(tmp_path / f"{number}.parquet")
        frame.to_parquet(files[-1])
        expected |= {r: c[1] for r, c in zip(rows, candidates) if len(c) > 1 and r not in (3, 41)}
    groups = list(
        shuffle.by_scene(files, 1, np.array([3, 41]), tmp_path / "s", crowd=crowd, bucket=bucket)
    )
    got = {r: scene for scene, _, frame in groups for r in frame["_row"]}
    assert got == expected and sum(len(f) for *_, f in groups) == len(expected)
    assert len({(s, t) for s, t, _ in groups}) == len(groups)
    for _, tile, frame in groups:  # photos of a tile lie within 0.1 degrees
        if tile:
            assert np.ptp(frame["lon"]) <= 0.1 and np.ptp(frame["lat"]) <= 0.1
    assert not (tmp_path / "s").exists()

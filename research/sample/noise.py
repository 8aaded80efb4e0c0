"""Seeded texture: hashed value noise at any coordinates, without a table and without state."""

import numpy as np
from scipy.ndimage import zoom

_M1, _M2, _M3 = np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35), np.uint32(0x9E3779B1)


def hash01(i: np.ndarray, j: np.ndarray | int, seed: int) -> np.ndarray:
    """Whole numbers (any shape) -> float32 in [0, 1), the same for the same numbers and seed."""
    i = np.asarray(i).astype(np.int64).astype(np.uint32)
    j = np.asarray(j).astype(np.int64).astype(np.uint32)
    salt = np.uint32((seed * int(_M2)) & 0xFFFFFFFF)  # in Python's integers: no overflow warning
    h = i * _M3 ^ (j * _M1 + salt)
    h = (h ^ (h >> np.uint32(16))) * _M1
    h = (h ^ (h >> np.uint32(13))) * _M2
    h = h ^ (h >> np.uint32(16))
    return (h >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def value_noise(x: np.ndarray, y: np.ndarray, scale: float, seed: int) -> np.ndarray:
    """Smooth noise in [0, 1) with features of about `scale` (in the units of x and y)."""
    x, y = x / scale, y / scale
    i, j = np.floor(x), np.floor(y)
    fx, fy = x - i, y - j
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    i, j = i.astype(np.int64), j.astype(np.int64)
    top = hash01(i, j, seed) * (1 - fx) + hash01(i + 1, j, seed) * fx
    low = hash01(i, j + 1, seed) * (1 - fx) + hash01(i + 1, j + 1, seed) * fx
    return top * (1 - fy) + low * fy


def fractal(x: np.ndarray, y: np.ndarray, scale: float, seed: int, octaves: int = 3) -> np.ndarray:
    """Sum of noises of halved scale and weight, in [0, 1)."""
    total, weight = 0.0, 0.0
    for k in range(octaves):
        total = total + value_noise(x, y, scale / 2**k, seed + 101 * k) / 2**k
        weight += 1 / 2**k
    return total / weight


def grid_noise(rng: np.random.Generator, size: int, cell: float, scale: float) -> np.ndarray:
    """float32 [size, size] in [0, 1]: smooth noise on a grid of `cell` m, features of `scale` m.

    Ranked to a uniform distribution, so that `noise < share` covers that share of the grid.
    """
    coarse = int(np.ceil(size * cell / scale)) + 3
    fine = zoom(rng.random((coarse, coarse)), scale / cell, order=1)[:size, :size]
    ranks = np.sort(fine[::7, ::7], axis=None)
    return (np.searchsorted(ranks, fine) / ranks.size).astype(np.float32)

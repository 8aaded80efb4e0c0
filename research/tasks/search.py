"""A search in a gallery whose entries have coordinates: rank of the match, and kilometres missed.

A hit within d km: the best entry of the gallery lies at most d km from the truth, great circle on a
sphere. The five distances are those of Im2GPS (Hays and Efros 2008) and GeoCLIP (Vivanco Cepeda et
al. 2023): street, city, region, country, continent. Ties count as broken at random, as in
`gairlib.ranks`: a query that ties all entries has chance's hits, exactly.
"""

from dataclasses import dataclass

import numpy as np

from gairlib import geo
from gairlib import ranks as retrieval

WITHIN_KM = (1, 25, 200, 750, 2500)
SPHERE_TIE = 1e-12  # cosines of float64 unit vectors: about 9 m on the ground
CHUNK = 256  # queries at a time


@dataclass(frozen=True)
class Found:
    """Of n queries: ranks of their matches, expected km to the best entry [n], and the expected
    share of best entries within each of WITHIN_KM [n, 5]."""

    ranks: retrieval.Ranks
    km: np.ndarray
    hits: np.ndarray


def search(query, gallery, truth, places, *, tie: float = retrieval.TIE) -> Found:
    """Find the best entries of a gallery by cosine similarity.

    query [n, D] and gallery [m, D], rows of unit length (or all equal: a random order); entry i
    matches query i, so m >= n. truth [n, 2] and places [m, 2] in (lon, lat) degrees.
    """
    query, gallery = np.asarray(query), np.asarray(gallery)
    truth, places = np.asarray(truth, float), np.asarray(places, float)
    n = len(query)
    better, tied, km = np.zeros(n, int), np.zeros(n, int), np.zeros(n)
    hits = np.zeros((n, len(WITHIN_KM)))
    for start in range(0, n, CHUNK):
        part = np.arange(start, min(start + CHUNK, n))
        similarity = query[part] @ gallery.T  # [c, m]
        one = retrieval.ranks(similarity, part, tie=tie)
        better[part], tied[part] = one.better, one.tied
        i, j = np.nonzero(similarity >= similarity.max(1, keepdims=True) - tie)
        apart = geo.haversine(truth[part[i]], places[j]) / 1000
        share = np.bincount(i, minlength=len(part))
        km[part] = np.bincount(i, apart, len(part)) / share
        for d, limit in enumerate(WITHIN_KM):
            hits[part, d] = np.bincount(i, apart <= limit, len(part)) / share
    return Found(retrieval.Ranks(better, tied, np.full(n, len(gallery))), km, hits)


def medoid(lonlat) -> np.ndarray:
    """The one of the places [n, 2] with the least mean distance to them all: [2]."""
    lonlat = np.asarray(lonlat, float)
    apart = geo.haversine(lonlat[:, None], lonlat[None])
    return lonlat[apart.mean(1).argmin()]


def gap(left, right) -> float:
    """Modality gap: distance between the centres of two sets of unit vectors (Liang et al. 2022);
    0 for the same cloud, at most 2."""
    return float(np.linalg.norm(retrieval.unit(left).mean(0) - retrieval.unit(right).mean(0)))

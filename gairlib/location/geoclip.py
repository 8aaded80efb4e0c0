"""GeoCLIP's location encoder with the head it was published with, and a projection to D on top.

`rff` is the same network whose head has D values: where D is not 512, GeoCLIP's head does not fit
and its last layer starts anew. Here the head keeps its 512 values whatever D is. They are the
tower's own features, which probes read; the projection alone stands between them and the shared
space, and is all that is new when the tower starts from the published weights:

    GAIRConfig(location="geoclip")
    gairlib.weights.initialise(model, {"location": "asset:geoclip"})

A name of the registry builds without files, so it has random weights until then.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from gairlib.location.base import register
from gairlib.location.fourier import EqualEarthRFF


@register("geoclip")
class GeoCLIP(EqualEarthRFF):
    """Vivanco Cepeda et al. (arXiv 2309.16020), section 3.1: Equal Earth, random Fourier features
    of sigma 1, 16, 256, an MLP each, summed to `width` values; ours: a linear layer to D."""

    backbone_is_output = True

    def __init__(
        self,
        dim: int,
        *,
        width: int = 512,
        sigmas: Sequence[float] = (1.0, 16.0, 256.0),
        features: int = 256,
        hidden: int = 1024,
        seed: int | None = None,
    ) -> None:
        super().__init__(width, sigmas=sigmas, features=features, hidden=hidden, seed=seed)
        self.dense = nn.Linear(width, dim)

    def network(self, features: Tensor) -> Float[Tensor, "n d"]:
        return self.head(self.hidden(features))

    def head(self, hidden: Tensor) -> Float[Tensor, "n d"]:
        return self.dense(hidden)

    def hidden(self, features: Tensor) -> Float[Tensor, "n width"]:
        """What GeoCLIP's own module returns, before it is scaled to unit length."""
        return EqualEarthRFF.network(self, features)

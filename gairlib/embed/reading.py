"""A chip's field on a regular grid of cells: two small matrix products instead of many queries.

Cells in rows and columns make the blend of four tokens a product of one weight along x and one
along y, so the whole chip is `Wy rows Wx'` with rows [h, w, K] the decoded tokens (NILI's linear
decoder is one convolution of the grid, see `gairlib.inr`), Wy [H, h] and Wx [W, w]. Bilinear,
bicubic and nearest reading are of the same form with other weights, taken from `inr.interpolate`
itself. The offsets, which count in the half-token border alone, add one line along each axis.

A projection to K channels (PCA) is linear, hence goes into the decoder's weights: the D channels
of the field are never made. The MLP's correction is no product and is evaluated cell by cell; its
last layer is linear, so it takes the projection as well. So it is with the view-directed decoder
(`gairlib.cone`), for one heading or, without one, for all.

Equal to `model.query_rs` at the cells' centres, to rounding. Only where NILI's published guard
blends four tokens evenly (exactly on the centre lines of the last token row and column) does this
form keep the limit from beside the line.
"""

import copy

import numpy as np
import torch
from torch import Tensor, nn

from gairlib import inr
from gairlib.cone import View
from gairlib.embed.pca import PCA
from gairlib.errors import BadInput
from gairlib.rs.base import Features

QUERIES = 65_536  # cells of the MLP at a time
VALUES = 2**24  # of a slab of rows: 64 MiB in float32


class Reading:
    """Reads chips of `model` in a mode, projected to `projection`'s axes (or all D channels).

    `rows(grid)` decodes a batch of token grids [B, h, w, D]; `slabs(rows, grid, x, y)` reads one of
    them at the columns x and rows y, each in [-1, 1]: (slice of y, values [n, len(x), K]).
    heading: where cameras look, for all cells, if the model's field reads headings; None: all.
    `label` says how the field is read: the mode, and the heading of a field that reads one.
    The projection's mean is not taken off: `shift` [K] is to be subtracted after the blend.
    """

    def __init__(
        self,
        model,
        mode: str | None = None,
        projection: PCA | None = None,
        heading: float | None = None,
    ) -> None:
        self.model, config = model, model.config
        self.mode = mode or config.query_mode
        if self.mode not in ("nili", "bilinear", "bicubic", "nearest"):
            raise BadInput(
                f"mode {self.mode!r}: choose nili, bilinear, bicubic or nearest; a "
                "chip's mean is no field"
            )
        if self.mode == "nili" and model.field is None:
            raise BadInput(
                f"mode 'nili': this model was trained with {config.query_mode!r} and has no decoder"
            )
        directed = self.mode == "nili" and config.reads_headings
        if heading is not None and not (directed and np.isfinite(heading)):
            raise BadInput(
                f"heading {heading}: degrees are needed, and a field that reads headings; mode "
                f"{self.mode!r} of this model {'does' if directed else 'does not'}"
            )
        self.heading = heading
        looks = "all headings" if heading is None else f"heading {heading % 360:g}"
        self.label = f"{self.mode}, {looks}" if directed else self.mode
        self.padding = config.interpolation_padding
        self.dtype, self.device = model.rs.dtype, model.rs.device
        axes = np.eye(config.dim) if projection is None else np.asarray(projection.axes)
        if axes.shape[0] != config.dim:
            raise BadInput(
                f"projection: fitted on {axes.shape[0]} values, the model has {config.dim}"
            )
        self.bands = axes.shape[1]
        self.shift = 0 * axes[0] if projection is None else projection.mean @ axes
        self.nili = self.mlp = self.cone = None
        matrix = torch.as_tensor(axes.T.copy(), device=self.device)  # [K, D] float64
        self._project = None if projection is None else matrix.to(self.dtype)
        if self.mode == "nili":
            self.nili, n = model.field, 9 * config.dim
            weight = (matrix @ self.nili.linear.weight.detach().double()).to(self.dtype)
            self._weight, self._offset = weight[:, :n].contiguous(), weight[:, n:]  # [K, 2]
            self._bias = (matrix @ self.nili.linear.bias.detach().double()).to(self.dtype)
            if self.nili.decoder == "mlp":
                self.mlp = _projected(self.nili, matrix)
            elif self.nili.decoder == "cone":
                self.cone = _projected(self.nili.cone, matrix)

    def rows(self, grid: Tensor) -> Tensor:
        """Token grids [B, h, w, D] -> what is blended, [B, h, w, K]."""
        if self.nili is not None:
            return inr.fold(grid, self._weight, self._bias).reshape(*grid.shape[:3], self.bands)
        return grid if self._project is None else grid @ self._project.mT

    def axis(self, positions: np.ndarray, n: int) -> tuple[Tensor, Tensor]:
        """Weights [len(positions), n] of n tokens along one axis, and the mean offset [len]."""
        at = torch.as_tensor(np.asarray(positions, np.float64))
        if self.nili is None:
            tokens = torch.eye(n, dtype=torch.float64)[None, None]  # [1, 1, n, n]: token i is e_i
            xy = torch.stack([at, torch.zeros_like(at)], -1)[None]
            weight = inr.interpolate(tokens, xy, self.mode, self.padding)[0]
            offset = torch.zeros_like(at)
        else:  # beside the middle of a single row of tokens, where no area vanishes
            t = inr.taps(
                torch.stack([at, torch.full_like(at, 0.5)], -1), 1, n, self.nili.float32_centres
            )
            weight = torch.zeros(len(at), n, dtype=torch.float64).scatter_add_(1, t.col, t.weight)
            offset = (t.weight * t.offset[..., 0]).sum(1)
        return weight.to(self.device, self.dtype), offset.to(self.device, self.dtype)

    def slabs(
        self,
        rows: Tensor,
        grid: Tensor,
        x: np.ndarray,
        y: np.ndarray,
        features: Features | None = None,
    ):
        """One chip: rows [h, w, K] and its grid [h, w, D] -> yields (slice of y, [n, len(x), K])
        float32 on the CPU, each of bounded size. features: of that chip alone, for decoder "cone",
        whose map they hold."""
        h, w, _ = rows.shape
        (wx, ax), (wy, ay) = self.axis(x, w), self.axis(y, h)
        most = VALUES // (len(x) * self.bands)
        if self.mlp is not None or self.cone is not None:
            most = min(most, QUERIES // len(x))
        step = max(1, most)
        along_x = torch.einsum("xw,hwk->hxk", wx, rows)  # [h, W, K]
        for start in range(0, len(y), step):
            part = slice(start, min(start + step, len(y)))
            out = torch.einsum("yh,hxk->yxk", wy[part], along_x)
            if self.nili is not None:
                out += (
                    ax[:, None] * self._offset[:, 0]
                    + (ay[part, None] * self._offset[:, 1])[:, None]
                )
            if self.mlp is not None:
                out += self._correction(grid, x, y[part]).reshape(out.shape)
            if self.cone is not None:
                out += self._seen(features, x, y[part]).reshape(out.shape)
            yield part, out.float().cpu()

    def _cells(self, x: np.ndarray, y: np.ndarray) -> Tensor:
        xy = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        return torch.from_numpy(xy.astype(np.float64)).to(self.device)

    def _seen(self, features: Features, x: np.ndarray, y: np.ndarray) -> Tensor:
        xy, heading = self._cells(x, y)[None], None
        if self.heading is not None:
            heading = torch.full(xy.shape[:2], self.heading, dtype=xy.dtype, device=self.device)
        return self.cone(View(features.map, features.side_m, heading), xy)

    def _correction(self, grid: Tensor, x: np.ndarray, y: np.ndarray) -> Tensor:
        xy = self._cells(x, y)
        taps = inr.taps(xy, *grid.shape[:2], self.nili.float32_centres)
        chip = torch.zeros(len(xy), 1, dtype=torch.int64, device=self.device)
        return self.mlp.correction_at(grid[None], taps, chip, None, dense=True)


class AllRound:
    """A view-directed field in each of its directions, side by side: `bands` is D for each of the K
    headings of `gairlib.cone.Cone.around`, one after the other. Read as a `Reading` is."""

    def __init__(self, model, mode: str | None = None) -> None:
        self.headings = model.field.cone.around.tolist()
        self.each = [Reading(model, mode, heading=h) for h in self.headings]
        one = self.each[0]
        self.model, self.device, self.rows = model, one.device, one.rows
        self.bands, self.shift = len(self.each) * one.bands, np.zeros(len(self.each) * one.bands)
        self.label = f"{one.mode}, each of {len(self.each)} headings"

    def slabs(self, *chip):
        """As `Reading.slabs`: (slice of y, [n, len(x), K * D])."""
        for parts in zip(*(reading.slabs(*chip) for reading in self.each)):
            yield parts[0][0], torch.cat([values for _, values in parts], -1)


def _projected(decoder: nn.Module, matrix: Tensor) -> nn.Module:
    """The same decoder whose last layer gives matrix [K, D] times the correction."""
    dtype = decoder.last.weight.dtype
    last = nn.Linear(decoder.last.in_features, len(matrix)).to(matrix.device, dtype)
    with torch.no_grad():
        last.weight.copy_(matrix @ decoder.last.weight.double())
        last.bias.copy_(matrix @ decoder.last.bias.double())
    other = copy.copy(decoder)
    other._modules = {**decoder._modules, "last": last}
    return other

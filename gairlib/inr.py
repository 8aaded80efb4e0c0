"""NILI: the RS token grid as a continuous field, read at any position of the chip (GAIR eq. 4-7).

In the line of LIIF (arXiv 2012.09161): each token's 3x3 neighbourhood (9D values, zero-padded,
ordered channel, row, column) is decoded together with the offset from the token's centre at the
four nearest tokens, and the four are blended with the areas of the opposite rectangles. Offsets
are in cells of span 2; near the border neighbours repeat; 1e-6 and 1e-9 are the published guards.

What we do with it:
- *Linear decoder* (published): decoding commutes with blending, so one 3x3 convolution of the grid
  and a four-tap weighted embedding bag give the same field exactly, border included. For fewer
  queries than tokens the other order is cheaper: blend the neighbourhoods, then one linear layer.
- *MLP decoder* (ours): features + offset + cell size. Its first layer is linear in the features,
  hence also a convolution of the grid (or, for few queries, a product with gathered rows); its
  last layer is linear, hence applied after the blend. Queries go through in chunks, recomputed
  in the backward pass. It is a correction: the linear decoder runs beside it, the MLP's last layer
  starts at zero, and the linear weights start at "the token itself", so training begins at plain
  interpolation of the tokens and departs from it as far as it pays.
- *View-directed decoder*, "cone" (ours, `gairlib.cone`): a photo shows what lies ahead of the
  camera, and a function of (x, y) can but average over where it looks. This one is a function of
  (x, y, heading), which no interpolation of a grid can be:

      map      = stem(bands) + upsample(project(tokens))              once a chip, 10 m a pixel
      place_k  = xy + turn(heading) (ahead_k, right_k) 2 / side_m     21 places, up to 130 m ahead
      sample_k = map at place_k, and whether it lies within the chip (0 beyond its edge)
      value    = linear NILI at xy + last(gelu(first(sample_1 ... sample_21, within_1 ...)))

  Without a heading, for all or for single rows, the second term is its mean over twelve
  directions. Which of its parts pay, options tell: tokens alone for the map (`pixels: false`), a
  ring of as many samples that knows no heading (`compass: false`), a single place. It starts at
  the linear decoder, as the MLP does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gairlib.cone import Cone, View
from gairlib.errors import BadInput

DECODERS = ("linear", "mlp", "cone")


class Taps(NamedTuple):
    """The four tokens that a query reads."""

    row: Int[Tensor, "q 4"]
    col: Int[Tensor, "q 4"]
    weight: Float[Tensor, "q 4"]  # sums to 1
    offset: Float[Tensor, "q 4 2"]  # (dx, dy) from the token's centre, one cell spans 2


def _axis(u: Tensor, n: int, float32_centres: bool) -> tuple[Tensor, Tensor]:
    """The two nearest of n tokens along one axis [..., 2], and the offsets from their centres."""
    first = torch.floor((u.detach() + (1 + 1e-6)) * (n / 2) - 0.5)
    near = torch.stack([first, first + 1], -1).clamp(0, n - 1)
    if float32_centres:  # the published order of operations, rounding included
        centre = ((1 / n - 1) + (2 / n) * near.float()).to(u.dtype)
    else:
        centre = (2 * near + 1) / n - 1
    return near.long(), (u[..., None] - centre) * n


def taps(xy: Float[Tensor, "q 2"], h: int, w: int, float32_centres: bool = False) -> Taps:
    """Neighbours, blend weights and offsets of positions xy in a grid of h x w tokens.

    The published code rounds the tokens' centres to float32, which moves the field by some 1e-7;
    `float32_centres` repeats that, for models that were trained so. Where all four areas vanish,
    exactly on the centre lines of the last row and column, the published 1e-9 blends them evenly.
    """
    col, dx = _axis(xy[..., 0], w, float32_centres)
    row, dy = _axis(xy[..., 1], h, float32_centres)
    pairs = torch.broadcast_tensors(dx[..., None, :], dy[..., :, None])
    offset = torch.stack(pairs, -1).flatten(-3, -2)  # [Q, 4, 2], order (row, col)
    area = offset.prod(-1).abs() + 1e-9
    weight = area.flip(-1) / area.sum(-1, keepdim=True)  # the opposite of (i, j) is (1-i, 1-j)
    row, col = torch.broadcast_tensors(row[..., :, None], col[..., None, :])
    return Taps(row.flatten(-2), col.flatten(-2), weight, offset)


def check_query(grid: Tensor, xy: Tensor) -> None:
    """Grid [B, h, w, D] and xy [B, Q, 2] must fit: nothing is broadcast silently."""
    if grid.ndim != 4:
        raise BadInput(f"grid: shape {list(grid.shape)}, but [B, h, w, D] is needed.")
    if xy.ndim != 3 or xy.shape[-1] != 2:
        raise BadInput(f"xy: shape {list(xy.shape)}, but [B, Q, 2] is needed.")
    if xy.shape[0] != grid.shape[0]:
        raise BadInput(
            f"xy is for {xy.shape[0]} chips and the features are of {grid.shape[0]}; one row of "
            "positions for each chip is needed."
        )


def precise(xy: Tensor) -> Tensor:
    """Positions in float32 or float64: half-precision ones could not tell a chip's pixels apart."""
    return xy if xy.dtype in (torch.float32, torch.float64) else xy.float()


def interpolate(
    grid: Float[Tensor, "b h w d"],
    xy: Float[Tensor, "b q 2"],
    mode: str = "bilinear",
    padding: str = "border",
) -> Float[Tensor, "b q d"]:
    """The raw tokens at xy: "bilinear", "bicubic" or "nearest" (grid_sample, align_corners=False).

    Padding "border" is ours; the published "zeros" fade towards the edge of the chip.
    """
    check_query(grid, xy)
    dtype = grid.dtype if grid.dtype in (torch.float32, torch.float64) else torch.float32
    sampled = F.grid_sample(
        grid.permute(0, 3, 1, 2).to(dtype),
        xy[:, None].to(dtype),
        mode=mode,
        padding_mode=padding,
        align_corners=False,
    )  # [B, D, 1, Q]
    return sampled[:, :, 0].mT.to(grid.dtype)


class NILI(nn.Module):
    """forward(grid [B, h, w, D], xy [B, Q, 2]) -> [B, Q, D]; `mean(grid)` -> [B, D].

    decoder "linear" has the published parameters (`linear` maps [9D, dx, dy] to D); "mlp" adds the
    correction described above, with hidden layers of the widths `hidden`; "cone" the one of
    `gairlib.cone.Cone`, built with the options `cone`. `chunk` bounds the queries that the MLP
    takes at once; it changes nothing but memory. `float32_centres`: see taps.
    """

    def __init__(
        self,
        dim: int,
        decoder: str = "linear",
        *,
        hidden: Sequence[int] = (256, 256),
        chunk: int = 8192,
        float32_centres: bool = False,
        cone: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if decoder not in DECODERS:
            raise BadInput(f"decoder {decoder!r}: choose one of {', '.join(DECODERS)}.")
        if chunk < 1 or not hidden:
            raise BadInput("NILI: chunk and the hidden layers must be at least 1.")
        self.dim, self.decoder, self.chunk = dim, decoder, chunk
        self.float32_centres = float32_centres
        self.linear = nn.Linear(9 * dim + 2, dim)
        with torch.no_grad():  # start at the token itself, with a little of everything else
            nn.init.normal_(self.linear.weight, std=0.1 / (9 * dim) ** 0.5)
            nn.init.zeros_(self.linear.bias)
            self.linear.weight[:, 4 : 9 * dim : 9] += torch.eye(dim)
        if decoder == "mlp":
            self.first = nn.Linear(9 * dim + 4, hidden[0])  # [9D, dx, dy, cell x, cell y]
            self.middle = nn.ModuleList(nn.Linear(a, b) for a, b in zip(hidden, hidden[1:]))
            self.last = nn.Linear(hidden[-1], dim)
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)
        if decoder == "cone":
            try:
                self.cone = Cone(dim, **(cone or {}))
            except TypeError as error:  # an option that it does not have
                raise BadInput(f"decoder 'cone': {error}") from None

    def forward(
        self,
        grid: Float[Tensor, "b h w d"],
        xy: Float[Tensor, "b q 2"],
        cell: Any = None,
        view: View | None = None,
    ) -> Float[Tensor, "b q d"]:
        """Read the field at xy. `cell`: (x, y) extent of what is asked for, in xy units (the chip
        is 2 wide), as LIIF has it; default one token; "mlp" alone has one. `view`: the map, scale
        and headings that "cone" reads."""
        check_query(grid, xy)
        if grid.shape[-1] != self.dim:
            raise BadInput(f"grid: {grid.shape[-1]} channels, but this decoder takes {self.dim}.")
        if cell is not None and self.decoder != "mlp":
            raise BadInput(
                f"cell: the {self.decoder} decoder does not take a cell size, only 'mlp' does."
            )
        b, h, w, _ = grid.shape
        q = xy.shape[1]
        t = taps(precise(xy).reshape(b * q, 2), h, w, self.float32_centres)
        chip = torch.arange(b, device=grid.device).repeat_interleave(q)[:, None]  # [B*Q, 1]
        out = self._linear_at(grid, t, chip, dense=q >= h * w)
        if self.decoder == "mlp":
            out = out + self.correction_at(grid, t, chip, cell, dense=4 * q >= h * w)
        out = out.reshape(b, q, self.dim)
        return out + self.cone(self._seen(view), precise(xy)) if self.decoder == "cone" else out

    def _seen(self, view: View | None) -> View:
        if view is None:
            raise BadInput("decoder 'cone' reads a view of the chip: its map, side and headings.")
        return view

    # ---- the linear decoder

    def _linear_at(self, grid: Tensor, t: Taps, chip: Tensor, dense: bool) -> Tensor:
        _, h, w, d = grid.shape
        weight, bias, n = self.linear.weight, self.linear.bias, 9 * d
        if dense:
            rows = fold(grid, weight[:, :n], bias)  # [B*h*w, D]; blend weights sum to 1
            index = (chip * h + t.row) * w + t.col
            out = F.embedding_bag(
                index, rows, mode="sum", per_sample_weights=t.weight.to(rows.dtype)
            )
        else:
            rows = F.pad(grid, (0, 0, 1, 1, 1, 1)).flatten(0, 2)  # [B*(h+2)*(w+2), D]
            bags = _neighbourhood(t, chip, h, w).mT.reshape(-1, 4)  # [Q*9, 4]
            blend = t.weight.to(rows.dtype).repeat_interleave(9, 0)
            blended = F.embedding_bag(bags, rows, mode="sum", per_sample_weights=blend)
            out = F.linear(blended.reshape(-1, n), _rowwise(weight[:, :n]), bias)
        offset = (t.weight[..., None] * t.offset).sum(-2).to(out.dtype)  # 0 in the interior
        return out.addmm_(offset, weight[:, n:].mT.to(out.dtype))  # in place: Q x D can be large

    # ---- the MLP's correction

    def correction_at(self, grid: Tensor, t: Taps, chip: Tensor, cell: Any, dense: bool) -> Tensor:
        _, h, w, d = grid.shape
        constant = self._constant(cell, h, w)
        if dense:
            rows = fold(grid, self.first.weight[:, : 9 * d], constant)  # [B*h*w, H]
            index = (chip * h + t.row) * w + t.col  # [Q, 4]
        else:
            rows = F.pad(grid, (0, 0, 1, 1, 1, 1)).flatten(0, 2)  # [B*(h+2)*(w+2), D]
            index = _neighbourhood(t, chip, h, w)  # [Q, 4, 9]
        parts = []
        for s in range(0, len(index), self.chunk) or [0]:
            part = [v[s : s + self.chunk] for v in (index, t.weight, t.offset)]
            if torch.is_grad_enabled() and len(index) > self.chunk:
                parts.append(
                    checkpoint(
                        self._correction,
                        rows,
                        *part,
                        constant,
                        use_reentrant=False,
                        preserve_rng_state=False,
                    )
                )
            else:
                parts.append(self._correction(rows, *part, constant))
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _constant(self, cell: Any, h: int, w: int) -> Tensor:
        """First layer's bias, with the cell size: log2 of tokens a cell, so one token counts 0."""
        weight, bias = self.first.weight, self.first.bias
        if cell is None:
            return bias
        size = torch.as_tensor(cell, dtype=torch.float64, device=bias.device)
        if size.shape != (2,):
            raise BadInput(f"cell: shape {list(size.shape)}, but (x, y) extents are needed.")
        tokens = torch.stack([size[0] * (w / 2), size[1] * (h / 2)])
        return bias + weight[:, -2:] @ tokens.log2().to(bias.dtype)

    def _correction(
        self, rows: Tensor, index: Tensor, weight: Tensor, offset: Tensor, constant: Tensor
    ) -> Tensor:
        n = 9 * self.dim
        x = F.embedding(index, rows)  # [Q, 4, H] folded, or [Q, 4, 9, D]
        if index.ndim == 3:
            x = F.linear(x.flatten(-2), _rowwise(self.first.weight[:, :n]), constant)
        x = x.flatten(0, 1)  # [Q*4, H]
        x = x.addmm_(
            offset.flatten(0, 1).to(x.dtype), self.first.weight[:, n : n + 2].mT.to(x.dtype)
        )
        x = self._hidden(F.gelu(x)).unflatten(0, (-1, 4))
        x = torch.einsum("qt,qth->qh", weight.to(x.dtype), x)
        return self.last(x)

    def _hidden(self, x: Tensor) -> Tensor:
        for layer in self.middle:
            x = F.gelu(layer(x))
        return x

    # ---- the chip as a whole

    def mean(
        self, grid: Float[Tensor, "b h w d"], cell: Any = None, view: View | None = None
    ) -> Float[Tensor, "b d"]:
        """Mean of the decoded field over the token centres: the chip's vector in the shared space.

        At a token's centre the blend is, in the limit, that token alone with offset 0. A view-
        directed field is read in all directions.
        """
        b, h, w, d = grid.shape
        weight = self.linear.weight
        padded = F.pad(grid, (0, 0, 1, 1, 1, 1))
        # The mean of a convolution needs only the nine shifted means, not the convolution.
        window = [padded[:, i : i + h, j : j + w].mean((1, 2)) for i in range(3) for j in range(3)]
        out = F.linear(torch.cat(window, -1), _rowwise(weight[:, : 9 * d]), self.linear.bias)
        if self.decoder == "mlp":
            x = fold(grid, self.first.weight[:, : 9 * d], self._constant(cell, h, w))
            x = self._hidden(F.gelu(x)).reshape(b, h * w, -1).mean(1)
            out = out + self.last(x)
        if self.decoder == "cone":
            x, y = ((2 * torch.arange(n, device=grid.device).double() + 1) / n - 1 for n in (w, h))
            centres = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(1, h * w, 2)
            view = self._seen(view)._replace(heading=None)
            out = out + self.cone(view, centres.expand(b, -1, -1)).mean(1)
        return out


def fold(
    grid: Float[Tensor, "b h w d"], weight: Float[Tensor, "o k"], bias: Tensor | None = None
) -> Float[Tensor, "n o"]:
    """`weight` times every token's 3x3 neighbourhood, as one convolution: rows [B*h*w, O].

    Without gradients as a matrix product, which rounds less than the convolution (1e-6 instead of
    1e-5 at D = 768); in training the neighbourhoods, nine times the grid, would have to be kept.
    """
    planes = grid.permute(0, 3, 1, 2)  # channels-last
    if not torch.is_grad_enabled():
        rows = F.unfold(planes, 3, padding=1).mT  # [B, h*w, 9*D], by channel, row, column
        return F.linear(rows, weight, bias).reshape(-1, weight.shape[0])
    kernel = weight.reshape(weight.shape[0], grid.shape[-1], 3, 3)  # (channel, row, column)
    out = F.conv2d(planes, kernel, bias, padding=1)
    return out.permute(0, 2, 3, 1).reshape(-1, weight.shape[0])


def _rowwise(weight: Float[Tensor, "o k"]) -> Float[Tensor, "o k"]:
    """Columns reordered from (channel, neighbour) to (neighbour, channel)."""
    return weight.reshape(weight.shape[0], -1, 9).mT.reshape(weight.shape[0], -1)


def _neighbourhood(t: Taps, chip: Tensor, h: int, w: int) -> Int[Tensor, "q 4 9"]:
    """Rows of each tap's 3x3 neighbourhood in grids padded by one token on every side."""
    k = torch.arange(3, device=chip.device)
    shift = (k[:, None] * (w + 2) + k).flatten()
    return ((chip * (h + 2) + t.row) * (w + 2) + t.col)[..., None] + shift

"""The model as a figure, drawn from its own configuration: towers, field, objectives, shapes.

B chips, N photos and their N places go in; vectors of the shared space [., D] come out at the
right, where brackets name the objectives that join them (GAIR, arXiv 2503.16683, figure 2).
"""

from collections.abc import Mapping

import torch
from matplotlib.patches import FancyBboxPatch

from gairlib.config import GAIRConfig
from research.figures import style
from research.figures.style import Figure

# left edge and width of each column: input, encoder, reading, vector
COLUMNS = ((1.0, 16.0), (20.0, 23.0), (54.0, 22.0), (79.5, 13.0))
ROWS = (43.0, 25.0, 7.0)  # centres: chip, photo, place
HIGH = 6.1  # half a box
TINTS = {"rs": "#D6E8F3", "sv": "#FBEBCB", "location": "#CFEBE2"}  # of blue, orange, green
TOWERS = {"vit": "ViT", "galileo": "Galileo"}
EDGES = {"rs": style.BLUE, "sv": style.ORANGE, "location": style.GREEN}


def draw(
    config: GAIRConfig, parameters: Mapping[str, int], weights: Mapping[str, float] | None = None
) -> Figure:
    """parameters: those of rs, sv, location and (with NILI) field, see `count`. weights: of the
    objectives "INCL", "SECL", "FIELD", "RS-location"; those above 0 are drawn, None draws all."""
    c, d, side = config, config.dim, config.rs_size // config.rs_patch
    on = {"INCL": 1.0, "SECL": 1.0, "FIELD": 1.0, "RS-location": 1.0}
    on = on if weights is None else {k: v for k, v in weights.items() if v > 0}
    rows = {
        "rs": [
            f"Sentinel-2 chip\nB chips of {c.rs_bands} bands\n{c.rs_size} × {c.rs_size} px",
            f"RS encoder ({TOWERS.get(c.rs_model, c.rs_model)})\n"
            f"{c.rs_depth} blocks, {c.rs_heads} heads\n"
            f"width {c.width}, patch {c.rs_patch} px\n{millions(parameters['rs'])}",
            _field(c, parameters),
            f"field there\n[N, {d}]",
        ],
        "sv": [
            f"Street photo\nN photos, RGB\n{c.sv_size} × {c.sv_size} px",
            f"SV encoder (timm)\n{_photo_models(c)}\n{millions(parameters['sv'])}",
            f"Pooling, projection\n{_pooler(c)}",
            f"photo\n[N, {d}]",
        ],
        "location": [
            "Place\nK longitudes, latitudes\ndegrees, WGS 84",
            f"Location encoder\n{c.location}\n{millions(parameters['location'])}",
            "",  # no reading: the encoder's output is the vector
            f"place\n[K, {d}]",
        ],
    }
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 4.4), layout="constrained")
        figure.get_layout_engine().set(w_pad=0, h_pad=0)  # the axes are the whole figure
        ax = figure.subplots()
        ax.set(xlim=(0, 100), ylim=(-2.5, 55))
        ax.set_axis_off()
        for y, (name, texts) in zip(ROWS, rows.items()):
            boxes = [(x, w, t) for (x, w), t in zip(COLUMNS, texts) if t]
            for i, (x, width, text) in enumerate(boxes):
                _box(ax, x, y, width, text, name, bold=i == 1)
            for (x, width, _), (to, *_rest) in zip(boxes, boxes[1:]):
                _arrow(ax, (x + width, y), (to, y))
        ax.text(
            48.5, ROWS[0] + 1.2, f"[B, {side}, {side}, {d}]", ha="center", va="bottom", fontsize=6.5
        )
        if c.query_mode != "mean":
            x = COLUMNS[2][0] + COLUMNS[2][1] / 2
            ax.text(
                x,
                ROWS[0] - HIGH - 4.2,
                "photo's position (x, y)",
                ha="center",
                va="center",
                fontsize=7,
            )
            _arrow(ax, (x, ROWS[0] - HIGH - 2.9), (x, ROWS[0] - HIGH))
        _objectives(ax, on, d)
    return figure


def count(config: GAIRConfig) -> dict[str, int]:
    """Parameters of each part of a model of this configuration, without allocating its weights."""
    from gairlib.model import GAIR

    with torch.device("meta"):
        model = GAIR(config)
    return {
        name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()
    }


def millions(n: int) -> str:
    """1234567 -> "1.2 M parameters"; below 100,000 in thousands."""
    return f"{n / 1e6:.1f} M parameters" if n >= 100_000 else f"{n / 1e3:.1f} k parameters"


def _field(c: GAIRConfig, parameters: Mapping[str, int]) -> str:
    if c.query_mode != "nili":
        return f"Tokens read by\n{c.query_mode} interpolation\nno decoder"
    decoder = "linear" if c.decoder == "linear" else "linear + MLP"
    return (
        f"Continuous field (NILI)\n3 × 3 tokens and offset\n{decoder} decoder\n"
        f"{millions(parameters['field'])}"
    )


def _photo_models(config: GAIRConfig) -> str:
    return config.sv_model + (f"\nbeside it {config.sv_side}" if config.sv_side else "")


def _pooler(c: GAIRConfig) -> str:
    return "linear, then tanh" if c.sv_pooler == "tanh" else "linear"


def _box(ax, x: float, y: float, width: float, text: str, name: str, bold: bool) -> None:
    ax.add_patch(
        FancyBboxPatch(
            (x + 0.6, y - HIGH + 0.6),
            width - 1.2,
            2 * HIGH - 1.2,
            boxstyle="round,pad=0.6",
            fc=TINTS[name],
            ec=EDGES[name],
            lw=1.2,
        )
    )
    head, _, rest = text.partition("\n")
    lines = rest.count("\n") + 1 if rest else 0
    top = y + 1.3 * lines
    size = 7.4
    ax.text(
        x + width / 2,
        top,
        head,
        ha="center",
        va="center",
        fontsize=size,
        weight="bold",
        color=style.BLACK,
    )
    for i, line in enumerate(rest.split("\n") if rest else []):
        ax.text(
            x + width / 2,
            top - 2.6 * (i + 1),
            line,
            ha="center",
            va="center",
            fontsize=6.9,
            color=style.BLACK,
        )


def _arrow(ax, start: tuple[float, float], end: tuple[float, float]) -> None:
    ax.annotate(
        "",
        end,
        start,
        arrowprops={
            "arrowstyle": "-|>",
            "color": style.BLACK,
            "lw": 1.1,
            "shrinkA": 1,
            "shrinkB": 1,
            "mutation_scale": 9,
        },
    )


def _objectives(ax, on: Mapping[str, float], d: int) -> None:
    """Arrows between the vectors that an objective pulls together, named in words beside them."""
    x, width = COLUMNS[3]
    middle = x + width / 2
    gaps = {"INCL": (ROWS[0] - HIGH, ROWS[1] + HIGH), "SECL": (ROWS[1] - HIGH, ROWS[2] + HIGH)}
    both = {
        "arrowstyle": "<|-|>",
        "color": style.VERMILION,
        "lw": 1.5,
        "shrinkA": 1,
        "shrinkB": 1,
        "mutation_scale": 9,
    }
    for name, (top, bottom) in gaps.items():
        if name in on:
            ax.annotate("", (middle, bottom), (middle, top), arrowprops=both)
            said = name + (" + FIELD" if name == "INCL" and "FIELD" in on else "")
            ax.text(
                middle - 1.5,
                (top + bottom) / 2 - (1.6 if name == "INCL" else 0),
                said,
                ha="right",
                va="center",
                fontsize=7.4,
                weight="bold",
                color=style.VERMILION,
            )
    if "RS-location" in on:
        right = x + width
        ax.plot(
            [right, right + 2.5, right + 2.5, right],
            [ROWS[0], ROWS[0], ROWS[2], ROWS[2]],
            color=style.VERMILION,
            lw=1.5,
        )
        ax.text(
            right + 4.4,
            ROWS[1],
            "RS-location",
            rotation=90,
            ha="center",
            va="center",
            fontsize=7.4,
            weight="bold",
            color=style.VERMILION,
        )
    ax.text(
        middle,
        ROWS[0] + HIGH + 1.3,
        f"shared space, D = {d}",
        ha="center",
        va="bottom",
        fontsize=7.4,
        weight="bold",
    )
    said = {
        "INCL": "INCL, SECL, RS-location: InfoNCE over the batch",
        "FIELD": "FIELD: over points of the photo's own chip",
    }
    lines = [said["INCL"]] if on else []
    lines += [said["FIELD"]] if "FIELD" in on else []
    ax.text(
        1, ROWS[0] + HIGH + 1.3, "; ".join(lines), va="bottom", fontsize=7, color=style.VERMILION
    )

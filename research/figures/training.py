"""Figures of the pretraining notebook: the model's parts, one batch, the curves."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from gairlib.train import inputs
from research.figures import style
from research.figures.style import Figure


def parameter_table(model: torch.nn.Module) -> pd.DataFrame:
    """Parameters of each part of the model."""
    counts = {
        name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()
    }
    loose = sum(p.numel() for p in model.parameters(recurse=False))
    counts |= {"temperature": loose} if loose else {}
    counts["total"] = sum(p.numel() for p in model.parameters())
    return pd.DataFrame({"parameters": counts})


def batch_sheet(batches, model, options, *, chips: int = 3, photos: int = 4) -> Figure:
    """Chips of step 0 after augmentation, numbered photo positions, and those photos beside them.

    Pictures show the network's inputs, stretched to grey levels for the eye.
    """
    with style.context():
        batch = batches.batch(0)
        made = inputs.make(batch, model.config, options, step=0)
        chips, photos = min(chips, len(batch.valid)), min(photos, batch.valid.shape[1])
        figure = Figure(figsize=(style.WIDTH, 1.75 * chips))
        axes = figure.subplots(chips, photos + 1, squeeze=False)
        slots = batch.valid.shape[1]
        shown = {int(k): i for i, k in enumerate(made.keep)}
        for r in range(chips):
            rgb = made.chips[r, [2, 1, 0]].permute(1, 2, 0).float().numpy()
            axes[r, 0].imshow(stretch(rgb), extent=(-1, 1, 1, -1))
            for q in range(photos):
                axis, i = axes[r, q + 1], shown.get(r * slots + q)
                axis.set_axis_off()
                if i is None:
                    continue
                x, y = made.xy[r, q].tolist()
                axes[r, 0].plot(x, y, "o", ms=11, mfc="white", mec="black", alpha=0.85)
                axes[r, 0].text(x, y, str(q + 1), ha="center", va="center", fontsize=7)
                axis.imshow(stretch(made.photos[i].permute(1, 2, 0).float().numpy()))
                axis.set_title(str(q + 1), fontsize=9)
            axes[r, 0].set(xticks=[], yticks=[])
            axes[r, 0].grid(False)
        axes[0, 0].set_title("chip", fontsize=9)
        return figure


def stretch(rgb: np.ndarray) -> np.ndarray:
    """[H, W, 3] of any range to 0..1 between its 1st and 99th percentile."""
    low, high = np.percentile(rgb, (1, 99))
    return np.clip((rgb - low) / max(high - low, 1e-6), 0, 1)


def curves(live: str | Path, *, chance: float) -> Figure:
    """Loss terms and validation retrieval over the steps, from DVCLive's tables."""
    folder = Path(live) / "plots/metrics"

    def read(name):
        path = folder / f"{name}.tsv"
        return pd.read_csv(path, sep="\t") if path.exists() else None

    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.9))
        left, right = figure.subplots(1, 2)
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16), "fontsize": 8}
        names = {
            "incl_loss": "INCL: photo and RS field",
            "field_loss": "FIELD: photo and its own chip",
            "secl_loss": "SECL: photo and place",
            "rs_location_loss": "RS field and place",
        }
        for name, label in names.items():
            table = read(name)
            if table is not None:
                smooth = table[name].rolling(5, min_periods=1, center=True).mean()
                line = left.plot(table["step"], smooth, label=label)[0]
                left.plot(table["step"], table[name], color=line.get_color(), alpha=0.25, lw=0.8)
        left.set(xlabel="step", ylabel="InfoNCE loss (nats)", title="Training", ylim=(0, None))
        left.legend(ncols=2, **below)
        for name, label in (("val_recall_at_1", "recall@1"), ("val_recall_at_10", "recall@10")):
            table = read(name)
            if table is not None:
                right.plot(table["step"], 100 * table[name], "o-", ms=3, label=label)
        right.axhline(100 * chance, color=style.GREY, ls="--", lw=1, label="chance, recall@1")
        right.set(
            xlabel="step",
            ylabel="photos (%)",
            ylim=(0, None),
            title="Validation: photo to RS field",
        )
        right.legend(ncols=2, **below)
        return figure

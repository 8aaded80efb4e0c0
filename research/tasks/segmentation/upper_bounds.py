"""Networks trained end to end on a segmentation set's labels: bounds for what frozen tokens tell.

A U-Net on pixels and the encoder's own tower under a linear head, from nothing and from our
weights, on all training tiles and on FEW of them. They are too dear for every run: `make bench-all`
trains them and keeps how many pixels of each class were told as which, test site by test site, in
metrics/upper_bounds/<task>.json, a file under version control. The benchmark's own stage reads it
where it belongs to the same tiles (and the fine-tuned ones to the same weights), and draws the same
sites for them as for all others. Other towers that are dear to make stand in the same file, frozen
under the linear head (`probe`; `research.tasks.rivals`).
"""

import hashlib
import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gairlib import preprocess
from gairlib.embed import encode
from gairlib.files import atomic_write
from gairlib.mapping.pixel_heads import LinearHead
from gairlib.model import GAIR
from research.evaluation import stats
from research.evaluation.fit import Fit
from research.evaluation.table import END_TO_END
from research.tasks.segmentation import linear, scores, train
from research.tasks.segmentation.data import SegmentationData, load
from research.tasks.segmentation.train import Schedule, Tiles
from research.tasks.segmentation.unet import UNet

FOLDER = Path("metrics/upper_bounds")
FEW = 100  # tiles
PROBE, LINEAR = END_TO_END, "linear"
UNET, SCRATCH, FINE_TUNED = "U-Net, supervised", "tower, supervised", "tower, fine-tuned"
# Chosen on validation tiles of the sample's training sites
SCHEDULES = {
    UNET: Schedule(steps=4000, every=100, patience=3, plateaus=2),
    SCRATCH: Schedule(steps=4000, lr=1e-3, weight_decay=0.05, every=100, patience=3, plateaus=2),
    FINE_TUNED: Schedule(steps=4000, lr=3e-4, weight_decay=0.05, every=100, patience=3, plateaus=2),
}


class Tower(nn.Module):
    """The RS tower under a linear head: preprocessed chips [B, 10, H, W] -> [B, K, H, W]."""

    def __init__(self, model: GAIR, classes: int, size: int) -> None:
        super().__init__()
        self.tower = deepcopy(model.rs).requires_grad_(True)
        self.head = LinearHead(self.tower.embed.out_features, classes, size)

    def forward(self, chips: Tensor) -> Tensor:
        return self.head(self.tower.layers(chips, 1))


@dataclass(frozen=True)
class Bound:
    """One network: what it is, tiles that taught, how its training went, confusions [G, K, K]; its
    probe, which is a head's name where the tower is frozen."""

    name: str
    n_train: int
    fit: Fit
    matrices: np.ndarray
    probe: str = PROBE


def networks(model: GAIR, classes: int, size: int) -> dict[str, Callable[[], nn.Module]]:
    """Name -> what makes the network; its random parts come from torch's random state."""
    return {
        UNET: partial(UNet, model.config.rs_bands, classes),
        SCRATCH: lambda: Tower(encode.random_init(model.config, 0), classes, size),
        FINE_TUNED: lambda: Tower(model, classes, size),
    }


def make(
    data: SegmentationData, model: GAIR, folder: Path = FOLDER, device: str = "auto"
) -> list[Bound]:
    """Train all that the file lacks, one after the other; each is kept as soon as it is there."""
    loaded = {s: load(data, s) for s in ("train", "val", "test") if s in data.splits}
    masks, count = loaded["train"][1], len(data.classes)
    truth = loaded["test"][1]
    codes, _ = stats.encode_clusters(data.splits["test"].clusters)
    prep = preprocess.get(model.config.preprocessing)
    read = {
        UNET: train.standardised,
        SCRATCH: lambda x: prep.rs(torch.from_numpy(x), model.config.rs_size),
    }
    read[FINE_TUNED] = read[SCRATCH]
    rng = np.random.default_rng(0)
    few = np.sort(rng.permutation(len(masks))[:FEW]) if len(masks) > FEW else None
    found = {bound.name: bound for bound in kept(data, model, truth, masks, folder)}
    for kind, create in networks(model, count, masks.shape[-1]).items():
        tiles = {
            split: Tiles([read[kind](x)], y, data.splits[split].clusters)
            for split, (x, y) in loaded.items()
        }
        for rows, name in ((None, kind), (few, f"{kind}, {FEW} tiles")):
            if name in found or (name != kind and few is None):
                continue
            of = tiles["train"] if name == kind else tiles["train"].take(rows)
            network, ended = train.fit(
                create,
                of,
                seed=0,
                schedule=SCHEDULES[kind],
                validation=tiles.get("val"),
                pixels=True,
                device=device,
            )
            guess = train.predict(network, tiles["test"].inputs, pixels=True, device=device)
            matrices = scores.confusion(truth, guess, codes, count)
            found[name] = Bound(name, len(of), ended, matrices)
            _save(folder / f"{data.name}.json", data, model, truth, masks, found)
    return list(found.values())


def probe(
    data: SegmentationData,
    model: GAIR,
    tower: GAIR,
    name: str,
    folder: Path = FOLDER,
    device: str = "auto",
) -> Bound:
    """Solve the linear head on the frozen tokens of another tower than `model`'s, and keep what it
    reaches with the networks: no upper bound, but as dear to make."""
    loaded = {s: load(data, s) for s in ("train", "val", "test") if s in data.splits}
    masks, truth, count = loaded["train"][1], loaded["test"][1], len(data.classes)
    tiles = {
        split: Tiles(
            train.features(tower, x, layers=1, device=device), y, data.splits[split].clusters
        )
        for split, (x, y) in loaded.items()
    }
    head, ended, *_ = linear.fit(tiles["train"], count, seed=0, validation=tiles.get("val"))
    guess = train.predict(head, tiles["test"].inputs, device=device)
    codes, _ = stats.encode_clusters(data.splits["test"].clusters)
    bound = Bound(name, len(masks), ended, scores.confusion(truth, guess, codes, count), LINEAR)
    found = {known.name: known for known in kept(data, model, truth, masks, folder)}
    _save(folder / f"{data.name}.json", data, model, truth, masks, found | {name: bound})
    return bound


def of(data: SegmentationData, model: GAIR, folder: Path = FOLDER) -> list[Bound]:
    """`kept` for a set that is not in memory."""
    if not (folder / f"{data.name}.json").is_file():
        return []
    (_, masks), (_, truth) = load(data, "train"), load(data, "test")
    return kept(data, model, truth, masks, folder)


def kept(
    data: SegmentationData, model: GAIR, truth: np.ndarray, masks: np.ndarray, folder: Path = FOLDER
) -> list[Bound]:
    """What the file of this set holds and belongs to these test and training masks; fine-tuned
    networks only where they began with this model's weights."""
    path = folder / f"{data.name}.json"
    if not path.is_file():
        return []
    record = json.loads(path.read_text(encoding="utf-8"))
    if record["tiles"] != _digest(masks, truth) or record["classes"] != list(data.classes):
        return []
    same = record["weights"] == _weights(model)
    return [
        Bound(
            name,
            bound["n_train"],
            Fit.of(bound["fit"]),
            np.array(bound["matrices"], dtype=float),
            bound.get("probe", PROBE),
        )
        for name, bound in record["networks"].items()
        if same or not name.startswith(FINE_TUNED)
    ]


def _save(path: Path, data, model: GAIR, truth, masks, found: dict[str, Bound]) -> None:
    record = {
        "tiles": _digest(masks, truth),
        "weights": _weights(model),
        "classes": list(data.classes),
        "networks": {
            name: {
                "n_train": bound.n_train,
                "fit": asdict(bound.fit),
                "matrices": bound.matrices.astype(int).tolist(),
                "probe": bound.probe,
            }
            for name, bound in found.items()
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        part.write_text(json.dumps(record) + "\n", encoding="utf-8")


def _digest(*arrays: np.ndarray) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def _weights(model: GAIR) -> str:
    """Of the tower alone."""
    return _digest(*(v.detach().cpu().numpy() for v in model.rs.state_dict().values()))

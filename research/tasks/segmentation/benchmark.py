"""One segmentation data set: frozen encoder under two heads, the same untrained, plain baselines.

A linear head tells what the tokens say by themselves: it is solved to convergence (`linear`).
UPerNet is PANGAEA's head, narrow and trained until validation tiles say that it gains no more, or
as published (`benchmark.upernet: pangaea`). Each has metrics of its own, "mIoU" and
"mIoU, UPerNet", in which "gair" and "random init" are the encoder and the same one untrained under
that head, so that they are compared pair by pair; under the other head they stand there too, as
"gair, UPerNet" and "gair, linear head". Against all of them: a logistic regression on each pixel's
bands and their 3 x 3 means, and the commonest class. Networks trained end to end are upper bounds
and no competitors of frozen tokens (`upper_bounds`). Linear heads and untrained encoders are
repeated for every seed, the dearer networks for the first.
"""

from abc import abstractmethod
from functools import partial

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from gairlib.errors import BadInput
from gairlib.model import GAIR
from research.evaluation import stats
from research.evaluation.fit import Fit
from research.evaluation.table import OURS, RANDOM, Table
from research.tasks.result import SHIFTED, Split
from research.tasks.segmentation import linear, train, upper_bounds
from research.tasks.segmentation.data import IGNORE, SegmentationData, check_classes, load
from research.tasks.segmentation.heads import UPerNet
from research.tasks.segmentation.scores import accuracy, confusion, miou
from research.tasks.segmentation.train import Tiles
from research.tasks.task import DEFAULTS, Measured, Options, Task

PIXELS = 20_000  # of the training masks, for the logistic regression
LINEAR, UPERNET = upper_bounds.LINEAR, "UPerNet"
# head -> (how the names of its metrics end, how their keys do, its name among another's encoders)
HEADS = {LINEAR: ("", "", ", linear head"), UPERNET: (", UPerNet", "_upernet", ", UPerNet")}


class SegmentationTask(Task):
    """A class for every pixel of a chip. first: the head whose mIoU is the headline."""

    kind = "segmentation"
    subject = "chip"
    first = UPERNET

    @abstractmethod
    def load(self, dataset: Dataset, options: Options = DEFAULTS) -> SegmentationData:
        """Tiles with masks, by split."""

    def measure(self, dataset: Dataset, options: Options) -> Measured:
        return measure(self.load(dataset, options), options, self.first)


def measure(data: SegmentationData, options: Options, first: str = UPERNET) -> Measured:
    """All scores of a data set; heads see the training split. first: LINEAR or UPERNET."""
    model, seeds, device = options.model, options.seeds, options.device
    missing = [s for s in ("train", "test") if s not in data.splits]
    if missing:
        raise BadInput(f"{data.name}: no split {missing[0]!r}; it has {', '.join(data.splits)}")
    loaded = {s: load(data, s) for s in ("train", "val", "test") if s in data.splits}
    check_classes(data, {s: m for s, (_, m) in loaded.items()})
    (chips, masks), (asked, truth) = loaded["train"], loaded["test"]
    tested = {data.split_name: (slice(len(truth)), data.splits["test"].clusters)}
    if SHIFTED in data.splits:  # asked by the same heads, and scored apart
        more, known = load(data, SHIFTED)
        rows = slice(len(truth), len(truth) + len(known))
        tested[f"shifted {data.cluster}s"] = rows, data.splits[SHIFTED].clusters
        asked, truth = np.concatenate([asked, more]), np.concatenate([truth, known])
    size, count = masks.shape[-1], len(data.classes)
    if truth.shape[1:] != masks.shape[1:] or masks.shape[1] != size:
        raise BadInput(
            f"{data.name}: training tiles of {masks.shape[1:]} and test tiles of "
            f"{truth.shape[1:]} pixels; squares of one size are needed"
        )
    table = Table(data.name, "rs", data.cluster, data.name, data.synthetic)
    split = data.split_name
    about = dict(n_train=len(masks), bands=",".join(data.bands))
    shown: dict[str, np.ndarray] = {}

    def add(encoder: str, probe: str, guess: np.ndarray, normalisation: str) -> None:
        for name, (rows, places) in tested.items():
            codes, clusters = stats.encode_clusters(places)
            matrices = confusion(truth[rows], guess[rows], codes, count)
            how = dict(probe=probe, normalisation=normalisation, n=len(codes), clusters=clusters)
            enter(name, encoder, probe, matrices, **how)
        rows, _ = tested[split]
        shown.setdefault(encoder + (", UPerNet" if probe == UPERNET else ""), guess[rows])

    def enter(split: str, encoder: str, head_of: str, matrices: np.ndarray, **how) -> None:
        """The scores of one encoder on one split."""
        for head, (suffix, _, _) in HEADS.items():
            other = head_of in HEADS and head_of != head
            name = encoder + HEADS[head_of][2] if other else encoder
            for metric, make in (("mIoU", miou), ("pixel accuracy", accuracy)):
                table.add(split, name, metric + suffix, make(matrices), **about | how)

    fits: dict[str, Fit] = {}
    channels, schedule = train.UPERNETS[options.upernet]

    def heads(encoder: str, encoders, repeat: bool) -> None:
        """encoders: one a seed, or the same one for all."""
        for seed in range(seeds):
            if seed == 0 or repeat:
                layers = {
                    split: train.features(
                        encoders(seed), asked if split == "test" else x, device=device
                    )
                    for split, (x, _) in loaded.items()
                }
                tiles = {
                    split: Tiles(layers[split], loaded[split][1], data.splits[split].clusters)
                    for split in loaded
                    if split != "test"
                }
            of, val = tiles["train"], tiles.get("val")
            head, ended, _ = linear.fit(of, count, seed=seed, validation=val)
            fits.setdefault(f"{encoder}, linear head", ended)
            add(encoder, LINEAR, train.predict(head, layers["test"], device=device), how)
            if seed or not options.baselines:  # the dearer one is trained once
                continue
            create = partial(UPerNet, of.inputs[0].shape[-1], count, size, channels)
            head, fits[f"{encoder}, UPerNet"] = train.fit(
                create, of, seed=seed, schedule=schedule, validation=val, device=device
            )
            add(encoder, UPERNET, train.predict(head, layers["test"], device=device), how)

    how = model.config.preprocessing
    heads(OURS, lambda seed: model, repeat=False)
    heads(RANDOM, lambda seed: encode.random_init(model.config, seed), repeat=True)
    if options.baselines:
        add("pixel bands", "logistic", by_pixel(chips, masks, asked, count), "none")
    known = masks[masks != IGNORE]
    add("majority", "none", np.full_like(truth, np.bincount(known).argmax()), "none")

    rows, places = tested[split]
    bounds = upper_bounds.kept(data, model, truth[rows], masks)
    for bound in bounds:
        fits[bound.name] = bound.fit
        counts = dict(n=len(places), clusters=len(bound.matrices), n_train=bound.n_train)
        enter(split, bound.name, bound.probe, bound.matrices, probe=bound.probe, **counts)

    held = len(data.splits["test"])
    notes = [*data.notes, f"{len(masks):,} training and {held:,} test tiles of {size} px"]
    blocks = len(model.rs.blocks)
    if blocks < UPerNet.layers:
        notes.append(f"the tower has {blocks} block(s): UPerNet's four layers repeat some of them")
    as_published = schedule is train.PANGAEA
    notes.append(
        f"UPerNet of {channels} channels, "
        + ("trained as published with PANGAEA" if as_published else "narrower than PANGAEA's 512")
    )
    notes += [f"{name}: {how_it_ended(found)}" for name, found in fits.items()]
    if upper_bounds.PROBE not in {bound.probe for bound in bounds}:
        notes.append(
            "upper bounds (networks trained end to end) are not there for these tiles; "
            "`make bench-all` trains them"
        )
    judged = [
        (key + HEADS[head][1], split, metric + HEADS[head][0])
        for head in (first, *(h for h in HEADS if h != first))
        for key, metric in (("miou", "mIoU"), ("pixel_accuracy", "pixel accuracy"))
    ]
    splits = [Split(name, data.held_out, shifted=name != split) for name in tested]
    key = "miou" + HEADS[first][1], "mIoU" + HEADS[first][0]
    judged += [(f"{key[0]}_shifted", name, key[1]) for name in tested if name != split]
    rows, _ = tested[split]
    example = {"segmentation": data, "chips": asked[rows], "truth": truth[rows], "guesses": shown}
    return Measured(table, judged, splits, notes, example, fits=fits)


def how_it_ended(found: Fit) -> str:
    """A training in words; one that ended at its limit may not be at its end."""
    said = f"{found.steps:,} steps"
    if found.curve:
        best = 1 - min(error for _, error in found.curve)
        said += f", best at {found.best_step:,} (mIoU {best:.3f} on validation tiles)"
    else:
        said += " of the solver"
    return said + (", ENDED AT ITS LIMIT" if found.at_limit else ", to its end")


def linear_probe(data: SegmentationData, model: GAIR, device: str = "auto"):
    """Masks of the test tiles [m, H, W]: the true ones, and those of a linear head that was solved
    on the frozen tokens of the training tiles. What `measure` does for one encoder and seed 0."""
    tiles = {}
    for split in [s for s in ("train", "val", "test") if s in data.splits]:
        chips, masks = load(data, split)
        layers = train.features(model, chips, layers=1, device=device)
        tiles[split] = Tiles(layers, masks, data.splits[split].clusters)
    count, val = len(data.classes), tiles.get("val")
    head, _, _ = linear.fit(tiles["train"], count, seed=0, validation=val)
    return tiles["test"].masks, train.predict(head, tiles["test"].inputs, device=device)


def by_pixel(chips: np.ndarray, masks: np.ndarray, asked: np.ndarray, classes: int) -> np.ndarray:
    """Logistic regression on each pixel's bands and their 3 x 3 means: classes [m, H, W]."""

    def table(x: np.ndarray) -> np.ndarray:
        x = train.standardised(x)
        around = torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return torch.cat([x, around], 1).permute(0, 2, 3, 1).numpy()  # [n, H, W, 2C]

    labels = masks.reshape(-1)
    rows = np.flatnonzero(labels != IGNORE)
    rows = np.random.default_rng(0).permutation(rows)[:PIXELS]
    seen = table(chips).reshape(len(labels), -1)[rows]
    fitted = LogisticRegression(C=1.0, max_iter=200, tol=1e-3).fit(seen, labels[rows])
    found = [
        fitted.predict(table(asked[i : i + 64]).reshape(-1, seen.shape[1]))
        for i in range(0, len(asked), 64)
    ]
    return np.concatenate(found).reshape(len(asked), *masks.shape[1:]).astype(np.uint8)

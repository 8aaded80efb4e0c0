"""One segmentation data set: frozen encoder under two heads, the same untrained, plain baselines.

A linear head tells what the tokens say by themselves, UPerNet is the published protocol. Each has
metrics of its own, "mIoU" and "mIoU, UPerNet", in which "gair" and "random init" are the encoder
and the same one untrained under that head, so that they are compared pair by pair; under the other
head they stand there too, as "gair, UPerNet" and "gair, linear head". Against all of them: a
logistic regression on each pixel's bands and their 3 x 3 means, a small U-Net trained end to end,
and the commonest class. Linear heads and untrained encoders are repeated for every seed, the dearer
networks for the first.

mIoU as in PANGAEA (arXiv 2412.04204): intersections and unions are summed over all test pixels,
then divided class by class, then averaged over classes, all of equal weight. A class that is
neither true nor predicted anywhere in a draw has no IoU there and is left out of that mean.
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
from research.evaluation.stats import SHARE, Score
from research.evaluation.table import OURS, RANDOM, Table
from research.tasks.result import SHIFTED, Split
from research.tasks.segmentation import train
from research.tasks.segmentation.data import IGNORE, SegmentationData, check_classes, load
from research.tasks.segmentation.heads import LinearHead, UNet, UPerNet
from research.tasks.task import DEFAULTS, Measured, Options, Task

PIXELS = 20_000  # of the training masks, for the logistic regression
QUICK = train.Schedule(steps=120)
DEEP = train.Schedule(steps=150)
LINEAR, UPERNET = "linear", "UPerNet"
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
    loaded = {s: load(data, s) for s in ("train", "test")}
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
            counts = dict(n=len(codes), clusters=clusters)
            enter(name, encoder, probe, matrices, normalisation=normalisation, **counts)
        rows, _ = tested[split]
        shown.setdefault(encoder + (", UPerNet" if probe == UPERNET else ""), guess[rows])

    def enter(split: str, encoder: str, probe: str, matrices: np.ndarray, **how) -> None:
        """The scores of one encoder on one split."""
        for head, (suffix, _, _) in HEADS.items():
            name = encoder + HEADS[probe][2] if probe in HEADS and probe != head else encoder
            for metric, make in (("mIoU", miou), ("pixel accuracy", accuracy)):
                table.add(split, name, metric + suffix, make(matrices), probe=probe, **about, **how)

    def heads(encoder: str, encoders, repeat: bool) -> None:
        """encoders: one a seed, or the same one for all."""
        for seed in range(seeds):
            if seed == 0 or repeat:
                layers = [train.features(encoders(seed), x, device=device) for x in (chips, asked)]
            width = layers[0][-1].shape[-1]
            for probe, head, schedule in ((LINEAR, LinearHead, QUICK), (UPERNET, UPerNet, DEEP)):
                if seed and probe == UPERNET:  # the dearer one is trained once
                    continue
                seen, wanted = (x[-head.layers :] for x in layers)
                create = partial(head, width, count, size)
                fitted = train.fit(create, seen, masks, seed=seed, schedule=schedule, device=device)
                add(encoder, probe, train.predict(fitted, wanted, device=device), how)

    how = model.config.preprocessing
    heads(OURS, lambda seed: model, repeat=False)
    heads(RANDOM, lambda seed: encode.random_init(model.config, seed), repeat=True)
    add("pixel bands", "logistic", by_pixel(chips, masks, asked, count), "none")
    pixels = [[train.standardised(x)] for x in (chips, asked)]
    unet = train.fit(
        partial(UNet, pixels[0][0].shape[1], count),
        pixels[0],
        masks,
        seed=0,
        schedule=DEEP,
        pixels=True,
        device=device,
    )
    add(
        "U-Net, supervised",
        "end to end",
        train.predict(unet, pixels[1], pixels=True, device=device),
        "band mean and spread",
    )
    known = masks[masks != IGNORE]
    add("majority", "none", np.full_like(truth, np.bincount(known).argmax()), "none")

    held = len(data.splits["test"])
    notes = [*data.notes, f"{len(masks):,} training and {held:,} test tiles of {size} px"]
    blocks = len(model.rs.blocks)
    if blocks < UPerNet.layers:
        notes.append(f"the tower has {blocks} block(s): UPerNet's four layers repeat some of them")
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
    return Measured(table, judged, splits, notes, example)


def linear_probe(
    data: SegmentationData, model: GAIR, device: str = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the test tiles [m, H, W]: the true ones, and those of a linear head that was trained
    on the frozen tokens of the training tiles. What `measure` does for one encoder and seed 0."""
    (chips, masks), (asked, truth) = (load(data, split) for split in ("train", "test"))
    seen, tokens = (train.features(model, x, device=device)[-1:] for x in (chips, asked))
    head = partial(LinearHead, seen[0].shape[-1], len(data.classes), masks.shape[-1])
    fitted = train.fit(head, seen, masks, seed=0, schedule=QUICK, device=device)
    return truth, train.predict(fitted, tokens, device=device)


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


# ----------------------------------------------------------------------------------------- scores


def confusion(truth: np.ndarray, guess: np.ndarray, codes: np.ndarray, classes: int) -> np.ndarray:
    """Pixels of masks [n, H, W] by cluster, true and guessed class: [G, K, K]; IGNORE left out."""
    found = np.zeros((codes.max() + 1, classes * classes))
    for code, t, g in zip(codes, truth, guess):
        known = t != IGNORE
        at = t[known].astype(np.int64) * classes + g[known]
        found[code] += np.bincount(at, minlength=classes * classes)
    return found.reshape(-1, classes, classes)


def class_iou(matrix: np.ndarray) -> np.ndarray:
    """Intersection over union [..., K] of confusions [..., K, K]; NaN for absent classes."""
    both = np.diagonal(matrix, axis1=-2, axis2=-1)
    union = matrix.sum(-1) + matrix.sum(-2) - both
    return both / np.where(union > 0, union, np.nan)


def miou(matrices: np.ndarray) -> Score:
    """Mean IoU over classes; matrices [G, K, K] from `confusion`."""
    return Score(
        lambda weights: np.nanmean(class_iou(np.tensordot(weights, matrices, 1)), axis=-1), SHARE
    )


def accuracy(matrices: np.ndarray) -> Score:
    """Share of the labelled pixels that are right."""

    def score(weights):
        total = np.tensordot(weights, matrices, 1)  # [R, K, K]
        return np.trace(total, axis1=-2, axis2=-1) / total.sum((-2, -1))

    return Score(score, SHARE)

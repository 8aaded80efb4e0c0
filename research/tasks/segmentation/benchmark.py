"""One segmentation data set: frozen encoder under two heads, the same untrained, plain baselines.

A linear head tells what the tokens say by themselves: it is solved to convergence (`linear`); with
bands it reads the pixel beside them (`skip`). UPerNet is PANGAEA's head, narrow and trained until
validation tiles say that it gains no more, or as published (`benchmark.upernet: pangaea`). Each has
metrics of its own ("mIoU", "mIoU, with bands", "mIoU, UPerNet"), in which "gair" and "random init"
are the encoder and the same one untrained under that head, so that they are compared pair by pair;
under the other heads they stand there too, as "gair, UPerNet" or "gair, linear head". The headline
is of one head (`SegmentationTask.first`).

Against all of them: what the pixel and its surroundings say by themselves, by the same solver
(`skip.ALONE`), a logistic regression on some pixels' bands and 3 x 3 means, and the commonest
class. Networks trained end to end are upper bounds and no competitors of frozen tokens
(`upper_bounds`). Linear heads and untrained encoders are repeated for every seed, the dearer ones
are fitted for the first.
"""

from abc import abstractmethod
from functools import partial

import numpy as np

from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from gairlib.errors import BadInput
from gairlib.mapping.pixel_heads import UPerNet
from gairlib.model import GAIR
from research.evaluation import stats
from research.evaluation.fit import Fit
from research.evaluation.table import OURS, RANDOM, Table
from research.tasks.result import SHIFTED, Split
from research.tasks.segmentation import linear, skip, train, upper_bounds
from research.tasks.segmentation.data import IGNORE, SegmentationData, check_classes, load
from research.tasks.segmentation.scores import accuracy, confusion, miou
from research.tasks.segmentation.skip import by_pixel
from research.tasks.segmentation.train import Tiles
from research.tasks.task import DEFAULTS, Measured, Options, Task

LINEAR, BANDS, UPERNET = upper_bounds.LINEAR, "linear with bands", "UPerNet"
# head -> (how the names of its metrics end, how their keys do, its name among another's encoders)
HEADS = {
    LINEAR: ("", "", ", linear head"),
    BANDS: (", with bands", "_bands", ", with bands"),
    UPERNET: (", UPerNet", "_upernet", ", UPerNet"),
}


class SegmentationTask(Task):
    """A class for every pixel of a chip. first: the head whose mIoU is the headline; None: the one
    under which our encoder is best on validation tiles, which no test tile decides."""

    kind = "segmentation"
    subject = "chip"
    first: str | None = UPERNET

    @abstractmethod
    def load(self, dataset: Dataset, options: Options = DEFAULTS) -> SegmentationData:
        """Tiles with masks, by split."""

    def measure(self, dataset: Dataset, options: Options) -> Measured:
        return measure(self.load(dataset, options), options, self.first)


def measure(data: SegmentationData, options: Options, first: str | None = UPERNET) -> Measured:
    """All scores of a data set; heads see the training split. first: as `SegmentationTask` has."""
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
        shown.setdefault(encoder + (HEADS[probe][0] if probe in HEADS else ""), guess[rows])

    def enter(split: str, encoder: str, head_of: str, matrices: np.ndarray, **how) -> None:
        """The scores of one encoder on one split."""
        for head, (suffix, _, _) in HEADS.items():
            other = head_of in HEADS and head_of != head
            name = encoder + HEADS[head_of][2] if other else encoder
            for metric, make in (("mIoU", miou), ("pixel accuracy", accuracy)):
                table.add(split, name, metric + suffix, make(matrices), **about | how)

    fits: dict[str, Fit] = {}
    missed: dict[str, float] = {}  # head -> 1 - mIoU of ours on validation tiles
    channels, schedule = train.UPERNETS[options.upernet]

    def tiles_of(inputs: dict[str, list]) -> dict[str, Tiles]:
        return {
            split: Tiles(inputs[split], loaded[split][1], data.splits[split].clusters)
            for split in loaded
            if split != "test"
        }

    if options.baselines:
        pixels = {s: skip.bands(asked if s == "test" else x) for s, (x, _) in loaded.items()}
        squares, found = skip.alone(tiles_of({s: [x] for s, x in pixels.items()}), count)
        fits[skip.ALONE] = found.fit
        add(skip.ALONE, "logistic", train.predict(found.head, [pixels["test"]]), "none")

    def done(encoder: str, head_of: str, head, inputs: list, ended: Fit, error: float) -> None:
        fits.setdefault(encoder + HEADS[head_of][2], ended)
        if encoder == OURS:
            missed.setdefault(head_of, error)
        how = model.config.preprocessing
        add(encoder, head_of, train.predict(head, inputs, device=device), how)

    def solve(encoder: str, head_of: str, inputs: dict, seed: int, windows=((),)) -> None:
        of, windows = tiles_of(inputs), windows[: len(inputs["test"])]
        found = linear.fit(of["train"], count, seed=seed, validation=of.get("val"), windows=windows)
        done(encoder, head_of, found.head, inputs["test"], found.fit, found.missed)

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
                tiles = tiles_of(layers)
            solve(encoder, LINEAR, {s: x[-1:] for s, x in layers.items()}, seed)
            if seed or not options.baselines:  # the dearer ones are fitted once
                continue
            read = {}
            for split, (x, _) in loaded.items():
                x = asked if split == "test" else x
                guided = skip.guided(encoders(seed), x, device=device)
                read[split] = [layers[split][-1], pixels[split], *guided]
            solve(encoder, BANDS, read, seed, ((), squares, ()))
            of = tiles["train"]
            create = partial(UPerNet, of.inputs[0].shape[-1], count, size, channels)
            head, ended = train.fit(
                create, of, seed=seed, schedule=schedule, validation=tiles.get("val"), device=device
            )
            error = min((error for _, error in ended.curve), default=np.inf)
            done(encoder, UPERNET, head, layers["test"], ended, error)

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

    first = first or min(missed, key=missed.get)
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
    shares = ", ".join(f"{head} {1 - error:.3f}" for head, error in missed.items())
    notes.append(f"the headline is of the {first} head; mIoU of ours on validation tiles: {shares}")
    if options.baselines:
        means = ", ".join(f"{n} x {n}" for n in squares)
        notes.append(f"bands stand beside their means over {means} pixels, chosen without tokens")
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
    judged += [
        (f"{key}_shifted", name, metric)
        for key, at, metric in judged
        for name in tested
        if name != split and key.startswith("miou")
    ]
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
    head, *_ = linear.fit(tiles["train"], count, seed=0, validation=val)
    return tiles["test"].masks, train.predict(head, tiles["test"].inputs, device=device)

"""The tower that is judged, trained end to end on labels: upper bounds for its frozen features.

From nothing ("supervised") or from given weights ("fine-tuned"): the same tower, one linear head a
label, one network for all labels that are known of the same photos or chips, as their stages would
else train one each. What pretraining held of the tower is held here too, at the weights that it has
in both. Photos are mirrored at random; chips, which have no upright, are turned too.

A fifth of the training *groups* (sites, blocks) is kept aside. The learning rate falls where no
label's error there does, and training ends where that has happened twice; each label is then
answered by the weights that were best for it. The test rows are never looked at. What a network
answers lies in outputs/features, named by all that it depends on: the stage that first needs it
trains it, the others wait and read.
"""

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from gairlib import devices, preprocess
from gairlib.files import atomic_write
from gairlib.inr import interpolate
from gairlib.model import GAIR, held_tensors
from gairlib.train.towers import held_modules
from research.evaluation import features
from research.evaluation.fit import Fit, Target, batches, fit_network


@dataclass(frozen=True)
class Schedule:
    """At most `steps` batches, a limit that is not to be met. The error is looked at after each
    pass over the training rows, at least `every` steps apart; `patience`, `plateaus`, `gain`: see
    `fit_network`. tower: the learning rate of the tower as a share of the head's `lr`. inner: share
    of the training groups that is kept aside, at most `judges` rows."""

    steps: int = 2500
    batch: int = 64
    lr: float = 2e-3
    tower: float = 1.0
    weight_decay: float = 0.05
    warmup: int = 50
    every: int = 20
    patience: int = 3
    plateaus: int = 2
    gain: float = 0.005
    inner: float = 0.2
    judges: int = 600


SCRATCH = Schedule()
FINE_TUNING = Schedule(tower=0.25)


@dataclass
class Trained:
    """Answers of one network by label, each [m] for the m rows that were asked for; how its
    training went, and the step whose weights answer each label."""

    answers: dict[str, np.ndarray]
    fit: Fit
    best: dict[str, int]


# ---------------------------------------------------------------------------- inputs of a network


@dataclass
class Images:
    """What a tower reads: photos uint8 [n, 3, S, S], chips in DN [n, 10, H, W], or where `chip` [n]
    and `xy` [n, 2] are given, positions in chips (x east, y south, in [-1, 1])."""

    pixels: Tensor | np.ndarray
    upright: bool
    chip: np.ndarray | None = None
    xy: np.ndarray | None = None

    def take(self, rows: np.ndarray, order: torch.Generator | None = None) -> tuple:
        """Pixels of rows [b], changed at random by `order`; with positions also the number of each
        row's chip among them [b], and its place [b, 2]."""
        if self.chip is None:
            x = _images(self.pixels, rows)
            return (x,) if order is None else (augmented(x, self.upright, order),)
        chips, of = np.unique(self.chip[rows], return_inverse=True)
        x, xy = _images(self.pixels, chips), torch.from_numpy(np.asarray(self.xy)[rows])
        if order is not None:
            mirror, turns = torch.rand(1, generator=order) < 0.5, _turns(order)
            x, xy = moved(x, xy, bool(mirror), turns)
        return x, torch.from_numpy(of), xy


def _images(pixels: Tensor | np.ndarray, rows: np.ndarray) -> Tensor:
    """Rows of images, as the preprocessing takes them."""
    if isinstance(pixels, Tensor):
        return pixels[torch.from_numpy(rows)]
    return torch.from_numpy(np.asarray(pixels[rows], np.float32))


def _turns(order: torch.Generator) -> int:
    return int(torch.randint(4, (1,), generator=order))


def augmented(x: Tensor, upright: bool, order: torch.Generator) -> Tensor:
    """The batch, each image mirrored at random; unless `upright`, the batch also turned."""
    mirror = torch.rand(len(x), generator=order) < 0.5
    x = torch.where(mirror[:, None, None, None], x.flip(-1), x)
    return x if upright else torch.rot90(x, _turns(order), (-2, -1))


def moved(x: Tensor, xy: Tensor, mirror: bool, turns: int) -> tuple[Tensor, Tensor]:
    """Images [c, C, S, S] mirrored and turned (counter-clockwise, by 90 degrees), and where
    positions xy [b, 2] come to lie (x to the right, y down)."""
    if mirror:
        x, xy = x.flip(-1), xy * torch.tensor([-1, 1])
    for _ in range(turns):
        xy = torch.stack([xy[:, 1], -xy[:, 0]], 1)
    return torch.rot90(x, turns, (-2, -1)), xy


class Network(nn.Module):
    """A tower of a model, and one linear head [B, outputs] on the features that probes read: the
    photo tower's, the mean of a chip's tokens, or its tokens read bilinearly at a position."""

    def __init__(self, model: GAIR, images: Images, outputs: int) -> None:
        super().__init__()
        config = model.config
        photos = images.chip is None and images.upright
        self.prep, self.padding = preprocess.get(config.preprocessing), config.interpolation_padding
        self.size = config.sv_size if photos else config.rs_size
        self.sv, self.rs = (model.sv, None) if photos else (None, model.rs)
        self.head = nn.Linear(model.sv.width if photos else config.dim, outputs)
        # what pretraining held: no gradient, and norms that do not look at the batch
        held = held_tensors(model)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name not in held)
        self.asleep = held_modules(self, held)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.asleep.values():
            module.training = False
        return self

    def forward(self, x: Tensor, of: Tensor | None = None, xy: Tensor | None = None) -> Tensor:
        device = self.head.weight.device
        if self.sv is not None:
            return self.head(self.sv.backbone(self.prep.sv(x, self.size).to(device)))
        encoded = self.rs(self.prep.rs(x, self.size).to(device))
        if of is None or xy is None:
            return self.head(encoded.pooled)
        grids = encoded.grid[of.to(device)]
        return self.head(interpolate(grids, xy[:, None].to(device), padding=self.padding)[:, 0])


# --------------------------------------------------------------------------------------- training


def inner_split(rows: np.ndarray, groups: np.ndarray, seed: int, share: float):
    """Training rows in two parts that share no group: (to learn from, to judge by). Where there is
    one group only, single rows are parted."""
    names = np.unique(groups[rows])
    of_row = groups[rows] if len(names) > 1 else np.arange(len(rows))
    names = np.unique(of_row)
    aside = np.random.default_rng(seed).permutation(names)[: max(1, round(share * len(names)))]
    judge = np.isin(of_row, aside)
    return rows[~judge], rows[judge]


def has_label(labels: np.ndarray) -> np.ndarray:
    """Which of the labels [n] are there: finite numbers, texts that are not empty."""
    return np.isfinite(labels) if labels.dtype.kind == "f" else labels != ""


class Heads:
    """The part of a network's outputs that each label has, and the labels' errors, in units of what
    is had by guessing the mean, or all classes alike."""

    def __init__(self, labels: dict[str, np.ndarray], learn: np.ndarray) -> None:
        self.targets: dict[str, Target] = {}
        self.parts: dict[str, slice] = {}
        self.known: dict[str, np.ndarray] = {}
        self.outputs = 0
        for name, values in sorted(labels.items()):
            known = has_label(values)
            taught = learn[known[learn]]
            if len(np.unique(values[taught])) < 2:  # nothing to tell apart
                continue
            target = Target.of(values, taught)
            if target.classes is not None:  # one that no row teaches cannot be answered
                known &= np.isin(values, target.classes)
            self.targets[name], self.known[name] = target, known
            self.parts[name] = slice(self.outputs, self.outputs + target.outputs)
            self.outputs += target.outputs

    def errors(self, outputs: Tensor, rows: np.ndarray) -> dict[str, Tensor]:
        """Of every label that any of the rows [b] has."""
        found = {}
        for name, target in self.targets.items():
            known = self.known[name][rows]
            if known.any():
                scale = 1.0 if target.classes is None else float(np.log(len(target.classes)))
                part = outputs[torch.from_numpy(known).to(outputs.device), self.parts[name]]
                found[name] = target.loss(part, rows[known]) / scale
        return found


def train(
    model: GAIR,
    images: Images,
    labels: dict[str, np.ndarray],
    rows: np.ndarray,
    test: np.ndarray,
    groups: np.ndarray,
    *,
    seed: int,
    schedule: Schedule = SCRATCH,
    device: str = "auto",
) -> Trained:
    """Train `model`'s tower, in place, on the rows `rows` of labels, name -> [n] (NaN or "": none),
    and answer for the rows `test` [m]. groups: [n]. A label of which the rows hold one value only
    is answered by that. The same seed gives the same answers on a CPU."""
    s, rows, test, device = schedule, np.asarray(rows), np.asarray(test), devices.find(device)
    learn, judge = inner_split(rows, np.asarray(groups), seed, s.inner)
    judge = np.random.default_rng(seed).permutation(judge)[: s.judges]
    heads = Heads(labels, learn)
    answers = {}
    for name in labels.keys() - heads.targets.keys():
        values = labels[name][rows]
        known = values[has_label(values)]
        answers[name] = np.full(len(test), known[0] if len(known) else values[0])
    if not heads.targets:
        return Trained(answers, Fit(0, 0, at_limit=False), {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(model, images, heads.outputs).to(device)
    order = torch.Generator().manual_seed(seed)
    size = min(s.batch, max(8, len(learn) // 4))
    draw = batches(len(learn), size, order)
    least: dict[str, float] = dict.fromkeys(heads.targets, np.inf)
    best: dict[str, dict[str, Tensor]] = {}
    steps: dict[str, int] = {}
    taken = 0

    def loss() -> Tensor:
        nonlocal taken
        taken += 1
        batch = learn[next(draw).numpy()]
        errors = heads.errors(network(*images.take(batch, order)), batch)
        return torch.stack(list(errors.values())).sum() / len(heads.targets)

    def error() -> float:
        """Mean over labels of the least error so far: it falls where any label gains."""
        for name, value in heads.errors(_outputs(network, images, judge), judge).items():
            if float(value) < least[name] - 1e-3:
                least[name], steps[name] = float(value), taken
                state = network.state_dict()
                best[name] = {k: v.detach().clone() for k, v in state.items()}
        return float(np.mean([v for v in least.values() if np.isfinite(v)] or [0.0]))

    fit = fit_network(
        network,
        loss,
        steps=s.steps,
        lr=s.lr,
        weight_decay=s.weight_decay,
        warmup=s.warmup,
        fused=False,
        judge=error if len(judge) else None,
        every=max(s.every, len(learn) // size),
        patience=s.patience,
        plateaus=s.plateaus,
        gain=s.gain,
        shares={"sv": s.tower, "rs": s.tower},
    )
    outputs: dict[int, Tensor] = {}
    for name in heads.targets:
        step = steps.get(name, fit.best_step)
        if step not in outputs:
            if name in best:
                network.load_state_dict(best[name])
            network.eval()
            outputs[step] = _outputs(network, images, test)
        answers[name] = heads.targets[name].answer(outputs[step][:, heads.parts[name]])
    return Trained(answers, fit, {name: steps.get(name, fit.best_step) for name in heads.targets})


@torch.inference_mode()
def _outputs(network: Network, images: Images, rows: np.ndarray) -> Tensor:
    """Outputs [len(rows), T] of a network that is not being trained."""
    parts = [network(*images.take(rows[i : i + 256])).cpu() for i in range(0, len(rows), 256)]
    return torch.cat(parts)


# ------------------------------------------------------------------------------- kept for others


def kept(
    compute: Callable[[], Trained],
    model: GAIR,
    images: Images,
    labels: dict[str, np.ndarray],
    rows: np.ndarray,
    test: np.ndarray,
    groups: np.ndarray,
    kind: str,
    device: str,
) -> Trained:
    """`compute()`, or what it gave before for the same model, images, labels of the rows, rows and
    kind. Of stages that run side by side, one computes and the others wait for it."""
    inputs = [images.pixels, rows, test, np.unique(groups, return_inverse=True)[1][rows]]
    inputs += [] if images.chip is None else [images.chip, images.xy]
    for name, values in sorted(labels.items()):
        inputs += [np.frombuffer(name.encode(), np.uint8), values[rows]]
    name = features.key(model, inputs, device, kind, __name__)
    path = Path(features.FOLDER) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path.with_suffix(".lock")):
        try:
            return _loaded(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):  # not there, or cut short
            found = compute()
        about = {
            "answers": {k: v.tolist() for k, v in found.answers.items()},
            "fit": asdict(found.fit),
            "best": found.best,
        }
        with atomic_write(path) as part:
            Path(part).write_text(json.dumps(about), encoding="utf-8")
    return found


def _loaded(about: dict) -> Trained:
    answers = {name: np.array(values) for name, values in about["answers"].items()}
    return Trained(answers, Fit.of(about["fit"]), about["best"])


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Holds the file's lock, which ends with the process."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

"""What pretraining needs beside the model's own config: one frozen dataclass, one schedule.

Every field changes the numbers and belongs to a run's fingerprint, but for `gradient_parts` and
`loss_chunk`, which bound memory and change rounding at most. What a machine decides (devices,
sharding, compilation) is in gairlib.train.engine.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatch

import torch
from torch import nn

from gairlib.errors import BadInput
from gairlib.model import GAIR
from gairlib.train.towers import Tuning, plain, tuning_of

SAME_NUMBERS = ("gradient_parts", "loss_chunk")  # up to rounding


@dataclass(frozen=True)
class PretrainOptions:
    """Options of one training run; params.yaml says why each of the sample's values."""

    steps: int = 1000
    chips_per_batch: int = 32  # over all devices
    photos_per_chip: int = 8  # Q
    lr: float = 1.0e-3
    weight_decay: float = 0.05
    warmup: float = 0.05  # share of the steps with rising learning rate; cosine to zero after it
    clip_norm: float = 1.0
    queue_size: int = 4096  # coordinates; 0 = none
    queue_max_share: float = 0.25  # ... and at most this share of the training photos
    incl_exclude_m: float = 25.0  # photos nearer than this are no negatives for the RS field
    secl_exclude_m: float = 5000.0  # ... and for the location encoder, which sees kilometres
    in_chip_negatives: bool = True  # other photos of a photo's own chip are negatives of INCL
    field_points: int = 24  # random points of a chip's field as its photos' negatives; 0 = none
    field_exclude_m: float = 40.0  # ... but for those nearer than this
    field_weight: float = 1.0
    # For a field that reads headings (decoder "cone"); its random points look anywhere
    heading_dropout: float = 0.0  # share of photos and points whose heading is forgotten
    heading_negatives: int = 0  # wrong headings at each photo's own place, as field negatives
    secl_weight: float = 1.0
    rs_location_weight: float = 0.2
    band_jitter: float = 0.05
    photo_jitter: float = 0.15
    crop_min: float = 1.0  # least share of the chip's side that a random crop keeps; 1 = no crops
    gradient_parts: int = 1  # parts of a batch encoded one after the other, gradients cached
    loss_chunk: int = 0  # rows of logits held at a time; 0 = all
    log_every: int = 10
    validate_every: int = 100
    checkpoint_every: int = 100
    precision: str = "32-true"  # Fabric's names: "bf16-mixed" on a recent GPU
    seed: int = 0

    def __post_init__(self) -> None:
        least = {
            "steps": 1,
            "chips_per_batch": 1,
            "photos_per_chip": 1,
            "gradient_parts": 1,
            "loss_chunk": 0,
            "queue_size": 0,
            "field_points": 0,
            "heading_negatives": 0,
            "log_every": 1,
            "validate_every": 1,
            "checkpoint_every": 1,
        }
        for name, low in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise BadInput(f"pretrain.{name} is {value!r}, a whole number from {low} is needed")
        for name, low, high in (
            ("lr", 0, math.inf),
            ("warmup", 0, 1),
            ("queue_max_share", 0, 1),
            ("field_weight", 0, math.inf),
            ("heading_dropout", 0, 1),
            ("secl_weight", 0, math.inf),
            ("rs_location_weight", 0, math.inf),
            ("crop_min", 0.05, 1),
        ):
            if not low <= float(getattr(self, name)) <= high:
                raise BadInput(
                    f"pretrain.{name} is {getattr(self, name)!r}, a number from {low} "
                    f"to {high} is needed"
                )
        if self.chips_per_batch % self.gradient_parts:
            raise BadInput(
                f"pretrain.chips_per_batch ({self.chips_per_batch}) does not divide "
                f"into gradient_parts = {self.gradient_parts}"
            )

    def identity(self) -> dict:
        """What changes what is learnt: checkpoints of another identity are not resumed."""
        values = {k: v for k, v in asdict(self).items() if k not in SAME_NUMBERS}
        for key in ("heading_dropout", "heading_negatives"):  # off, a run is the one without them
            if not values[key]:
                del values[key]
        return values


def limit_queue(options: PretrainOptions, photos: int) -> int:
    """A queue longer than a quarter of the training photos would mostly hold the batch's own."""
    return min(options.queue_size, math.floor(options.queue_max_share * photos))


def learning_rate(step: int, options: PretrainOptions) -> float:
    """Linear warm-up, then a cosine to zero at the last step."""
    warm = max(1, round(options.warmup * options.steps))
    if step < warm:
        return options.lr * (step + 1) / warm
    t = (step - warm) / max(1, options.steps - warm)
    return options.lr * 0.5 * (1 + math.cos(math.pi * t))


def adamw(
    model: GAIR, options: PretrainOptions, towers: Mapping[str, Tuning] | None = None
) -> torch.optim.AdamW:
    """The optimiser of training, its update in one kernel where there is one."""
    fused = next(model.parameters()).device.type in ("cpu", "cuda")
    groups = parameter_groups(model, options.weight_decay, towers)
    return torch.optim.AdamW(groups, lr=options.lr, betas=(0.9, 0.98), fused=fused)


def set_learning_rate(
    optimiser: torch.optim.Optimizer, step: int, options: PretrainOptions
) -> None:
    """That of the step for everything, times the `rate` of each group."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(step, options) * group["rate"]


def parameter_groups(
    model: GAIR, weight_decay: float, towers: Mapping[str, Tuning] | None = None
) -> list[dict]:
    """Weight decay on matrices only, not on biases, norms, tokens, positions or the temperature.

    Class tokens and position embeddings have the shapes of matrices; towers name them in
    `no_weight_decay()`, as timm's do. What is anchored to its start is not drawn to zero either.
    `rate`: factor on the learning rate, one for everything but what `towers` say (by tower).
    """
    spared = set(map(id, listed_without_decay(model)))
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        tuning = tuning_of(name, towers or {})
        decays = parameter.ndim >= 2 and id(parameter) not in spared
        decays = decays and not (tuning and tuning.anchor)
        groups.setdefault((tuning.rate if tuning else 1.0, decays), []).append(parameter)
    return [
        {"params": found, "weight_decay": weight_decay if decays else 0.0, "rate": rate}
        for (rate, decays), found in groups.items()
        if found
    ]


def listed_without_decay(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that any part of the model lists in `no_weight_decay()`: names and patterns
    below that part, which timm reads with fnmatch, too."""
    found = []
    for part in model.modules():
        patterns = getattr(part, "no_weight_decay", set)()
        for name, parameter in part.named_parameters() if patterns else ():
            if any(fnmatch(plain(name), pattern) for pattern in patterns):
                found.append(parameter)
    return found

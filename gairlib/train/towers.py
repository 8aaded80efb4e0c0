"""How each tower is trained: from nothing, from weights, held, or drawn back to where it started.

Section `pretrain.towers` of params.yaml has a mapping for each of `rs`, `sv` and `location`:

    start   where its weights are from, see gairlib.weights.towers; "" or "scratch": from nothing
    rate    factor on the learning rate of what was loaded. 0 holds it: no gradient, no weight
            decay, eval mode (statistics of batch norm, drop path). What is new in the tower, such
            as a projection to D, learns at the full rate. A held photo tower is locked-image tuning
            (LiT, arXiv 2111.07991)
    anchor  weight of the L2-SP penalty (Li et al. 2018, arXiv 1802.01483) on what was loaded:
            anchor / 2 times the squared distance from the start, instead of weight decay, which
            draws to zero

A tower that starts from nothing, for want of a network too, learns at the full rate.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gairlib.errors import BadInput
from gairlib.model import GAIR
from gairlib.train.engine import full
from gairlib.weights.towers import FORM, TOWERS


@dataclass(frozen=True)
class Tower:
    """One tower's settings; see the module."""

    start: str = ""
    rate: float = 1.0
    anchor: float = 0.0


@dataclass(frozen=True)
class Tuning:
    """What of a tower was loaded (names in the model's state dict), and how that is trained."""

    loaded: frozenset[str]
    rate: float = 1.0
    anchor: float = 0.0

    @property
    def held(self) -> bool:
        return self.rate == 0

    def identity(self) -> list:
        """What changes what is learnt, fit for JSON."""
        return [self.rate, self.anchor, sorted(self.loaded)]


def read(section: Mapping[str, Any] | None) -> dict[str, Tower]:
    """`pretrain.towers` as settings of all three towers; BadInput names what is wrong."""
    section = section or {}
    if not isinstance(section, Mapping) or not set(section) <= set(TOWERS):
        raise BadInput(
            f"pretrain.towers: {section!r}; it has a mapping for {', '.join(TOWERS)}, or is {{}}"
        )
    return {name: _tower(name, section.get(name)) for name in TOWERS}


def _tower(name: str, given: Any) -> Tower:
    where, known = f"pretrain.towers.{name}", asdict(Tower())
    given = {} if given is None else given
    if not isinstance(given, Mapping) or not set(given) <= set(known):
        raise BadInput(
            f"{where}: {given!r}; it is a mapping with {', '.join(known)}, such as "
            '{start: "hub:owner/name", rate: 0}'
        )
    tower = Tower(**given)
    if not isinstance(tower.start, str):
        raise BadInput(f"{where}.start is {tower.start!r}; it is {FORM}")
    for key in ("rate", "anchor"):
        value = getattr(tower, key)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value < math.inf:
            raise BadInput(f"{where}.{key} is {value!r}, a number from 0 is needed")
    if tower.rate == 0 and tower.anchor:
        raise BadInput(f"{where}: a held tower (rate 0) does not move, it needs no anchor")
    return tower if tower.start != "scratch" else Tower("", tower.rate, tower.anchor)


def tunings(towers: Mapping[str, Tower], loaded: Mapping[str, Iterable[str]]) -> dict[str, Tuning]:
    """Of the towers that are not trained like everything else; loaded: names by tower."""
    return {
        name: Tuning(frozenset(loaded[name]), tower.rate, tower.anchor)
        for name, tower in towers.items()
        if loaded.get(name) and (tower.rate != 1 or tower.anchor)
    }


def sentences(found: Mapping[str, Tuning]) -> list[str]:
    """What the report says of them."""
    said = []
    for name, tuning in found.items():
        how = "is held" if tuning.held else f"is trained at {tuning.rate:g} of the learning rate"
        if tuning.anchor:
            how += f", anchored to its start (L2-SP, {tuning.anchor:g})"
        said.append(f"What was loaded of the {TOWERS[name]} {how}.")
    return said


# ---------------------------------------------------------------------------- in training


def plain(name: str) -> str:
    """A parameter's name without the wrapper of recomputed blocks."""
    return name.replace("_checkpoint_wrapped_module.", "")


def tuning_of(name: str, found: Mapping[str, Tuning]) -> Tuning | None:
    """Of a parameter by its name, None for one that is trained like everything else."""
    name = plain(name)
    tuning = found.get(name.partition(".")[0])
    return tuning if tuning and name in tuning.loaded else None


def hold(model: GAIR, found: Mapping[str, Tuning]) -> None:
    """Takes what is held out of the gradient; before the optimiser and DDP look at it."""
    for name, parameter in model.named_parameters():
        tuning = tuning_of(name, found)
        if tuning and tuning.held:
            parameter.requires_grad_(False)


def held_names(found: Mapping[str, Tuning]) -> set[str]:
    """Names of the tensors that are held."""
    return {k for tuning in found.values() if tuning.held for k in tuning.loaded}


def held_modules(module: nn.Module, held: Collection[str], name: str = "") -> dict[str, nn.Module]:
    """Modules by name of which all tensors are in `held`, and what lies in them without a tensor of
    its own; what is new beside them is none of these. name: of the module, where it is a part."""
    keys = module.state_dict(prefix=f"{name}." if name else "")
    # counts of batches are left out by some files
    keys = {plain(key) for key in keys if not key.endswith("num_batches_tracked")}
    if keys and keys <= set(held):
        return dict(module.named_modules(prefix=name))
    found: dict[str, nn.Module] = {}
    for child, part in module.named_children():
        found |= held_modules(part, held, f"{name}.{child}" if name else child)
    return found


def train_mode(wrapped: nn.Module, model: GAIR, found: Mapping[str, Tuning]) -> None:
    """Training mode for everything but what is held; wrapped: what an engine made of model."""
    wrapped.train()
    for module in held_modules(model, held_names(found)).values():
        module.training = False


class Anchors:
    """The anchored parameters, sharded or not, and where they started: as they are now."""

    def __init__(self, model: GAIR, found: Mapping[str, Tuning]) -> None:
        self.held: list[tuple[nn.Parameter, Tensor, float]] = [
            (parameter, parameter.detach().clone(), tuning.anchor)
            for name, parameter in model.named_parameters()
            if (tuning := tuning_of(name, found)) and tuning.anchor
        ]

    def __bool__(self) -> bool:
        return bool(self.held)

    @torch.no_grad()
    def pull(self) -> None:
        """Adds the penalty's gradient to that of the loss."""
        for parameter, start, weight in self.held:
            if parameter.grad is not None:
                parameter.grad.add_(parameter - start, alpha=weight)

    @torch.no_grad()
    def penalty(self) -> float:
        """Of sharded parameters every rank has to ask."""
        return sum(
            weight / 2 * float(full((parameter - start).square().sum()))
            for parameter, start, weight in self.held
        )

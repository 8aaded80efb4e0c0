"""A module's tensors in whatever a training tool has saved: wrappers and prefixes come off.

Tools put a state dict into others ({"state_dict": ...}, {"checkpoint": {"model": ...}}) and names
behind attributes ("module.", "net.", "teacher.backbone."). Both are text in front of a tensor's own
name once nested dicts are written with dots; so no list of them is needed: the text that stands in
front of the most expected names comes off. What a few tools put inside of names is listed.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from gairlib.errors import BadInput

# What torch.compile, FSDP, Fabric and checkpointing leave inside of names
INSERTED = re.compile(
    r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_forward_module|_checkpoint_wrapped_module)\."
)
# Of two copies, the one whose name says that it is an average or an optimiser's comes second
SECOND = re.compile(r"ema|averag|teacher|momentum|optim|exp_avg")
DEPTH = 8  # of dicts in dicts; a damaged pickle may hold itself


def named(
    content: Mapping[str, Any], expected: Iterable[str], source: str, inner: str = ""
) -> tuple[dict[str, Any], list[str]]:
    """(the values of a module under its own names, the names that stand beside it).

    expected: names, all or some, that tell the module; the first is named where none is there.
    inner: where the module lies in a larger one ("location_encoder."), if it does. The names beside
    are of the same state dict. Where the module stands there more than once, a warning says which
    one was taken; BadInput where two names become the same, or there are no tensors.
    """
    leaves, dicts = _leaves(content, source)
    tensors = [k for k, v in leaves.items() if isinstance(v, Tensor)]
    expected = list(expected)
    fronts = inner and _fronts(tensors, [inner + name for name in expected])
    inside = inner if fronts else ""
    fronts = fronts or _fronts(tensors, expected)
    if not fronts and tensors:
        first = ", ".join(tensors[:3])
        raise BadInput(
            f"{source}: {expected[0]} is missing, under any prefix; {len(tensors)} tensors are "
            f"there, {first} first."
        )
    most = max(fronts.values(), default=0)
    copies = sorted(
        (f for f, n in fronts.items() if n == most), key=lambda f: (bool(SECOND.search(f)), len(f))
    )
    front = copies[0] if copies else ""
    if rivals := [f for f in copies[1:] if not f.startswith(front)]:
        warnings.warn(
            f"{source}: the model stands there {1 + len(rivals)} times; what is under "
            f"{front!r} was taken, not {', '.join(map(repr, rivals))}.",
            stacklevel=3,
        )
    place = max((d for d in dicts if front.startswith(d)), key=len)
    front += inside
    own = {k.removeprefix(front): v for k, v in leaves.items() if k.startswith(front)}
    beside = [
        k.removeprefix(place) for k in tensors if k.startswith(place) and not k.startswith(front)
    ]
    if twice := [k for k in beside if k in own]:
        raise _twice(source, twice[0])
    return own, beside


def _leaves(content: Mapping[str, Any], source: str) -> tuple[dict[str, Any], set[str]]:
    """Dotted name -> what is no dict; and the dotted places of all dicts, "" for the outermost."""
    leaves: dict[str, Any] = {}
    dicts: set[str] = set()

    def walk(part: Mapping[str, Any], place: str, depth: int) -> Iterator[tuple[str, Any]]:
        dicts.add(place)
        for key, value in part.items():
            if not isinstance(value, Mapping):
                yield place + INSERTED.sub("", str(key)).removeprefix("module."), value
            elif depth:
                yield from walk(value, f"{place}{key}.", depth - 1)

    for name, value in walk(content, "", DEPTH):
        if name in leaves:
            raise _twice(source, name)
        if not name.endswith("n_averaged"):  # of torch's AveragedModel: the steps it has seen
            leaves[name] = value
    return leaves, dicts


def _fronts(names: Iterable[str], expected: Iterable[str]) -> Counter[str]:
    """Text in front of expected names -> how many of them it stands in front of."""
    wanted, fronts = set(expected), Counter()
    for name in names:
        at = 0
        while True:
            if name[at:] in wanted:
                fronts[name[:at]] += 1
            at = name.find(".", at) + 1
            if not at:
                break
    return fronts


def _twice(source: str, name: str) -> BadInput:
    return BadInput(
        f"{source}: {name} stands there twice, with and without 'module.' or another prefix."
    )


def load_strict(model: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Load a state dict; missing, unknown and misshapen tensors are named in one BadInput."""
    own = model.state_dict()
    faults = [f"{k} is missing" for k in own if k not in state]
    faults += [f"{k} is unknown" for k in state if k not in own]
    faults += [
        f"{k} is {list(state[k].shape)} instead of {list(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    faults += [
        f"{k} holds NaN or infinity"
        for k in own
        if state.get(k) is not None and not state[k].isfinite().all()
    ]
    if faults:
        more = f" and {len(faults) - 6} more" if len(faults) > 6 else ""
        raise BadInput(f"{source} does not fit its config: {'; '.join(faults[:6])}{more}.")
    model.load_state_dict(state)

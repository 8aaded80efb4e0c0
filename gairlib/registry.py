"""Classes by name: a package whose modules each register what they define."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gairlib.errors import BadInput


class Registry:
    """what: the thing that a name stands for, as errors call it; folder: of the package whose
    modules register classes; load: imports the module of a name there. The package writes the call,
    with its own name in full, so that it can be read from the sources what may be imported."""

    def __init__(self, what: str, folder: Path, load: Callable[[str], Any]) -> None:
        self.what, self.folder, self.load = what, folder, load
        self.classes: dict[str, Callable[..., Any]] = {}

    def register(self, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Class decorator: `create(name, dim, **options)` builds it as cls(dim, **options)."""

        def add(cls: Callable[..., Any]) -> Callable[..., Any]:
            self.classes[name] = cls
            return cls

        return add

    def names(self) -> list[str]:
        """Names that `create` knows."""
        for module in pkgutil.iter_modules([str(self.folder)]):
            self.load(module.name)
        return sorted(self.classes)

    def create(self, name: str, dim: int, **options: Any) -> Any:
        """What is registered under a name, built. BadInput for another name or other options."""
        if name not in (known := self.names()):
            raise BadInput(f"{self.what} {name!r} is not one of {', '.join(known)}.")
        try:
            return self.classes[name](dim, **options)
        except TypeError as error:
            raise BadInput(f"{self.what} {name!r}: {error}") from None

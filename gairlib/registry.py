"""Classes by name: a package whose modules each register what they define."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from importlib import import_module
from typing import Any

from gairlib.errors import BadInput


class Registry:
    """package: the full name of the one whose modules register classes; what: the thing that a name
    stands for, as errors call it."""

    def __init__(self, package: str, what: str) -> None:
        self.package, self.what = package, what
        self.classes: dict[str, Callable[..., Any]] = {}

    def register(self, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Class decorator: `create(name, dim, **options)` builds it as cls(dim, **options)."""

        def add(cls: Callable[..., Any]) -> Callable[..., Any]:
            self.classes[name] = cls
            return cls

        return add

    def names(self) -> list[str]:
        """Names that `create` knows."""
        for module in pkgutil.iter_modules(import_module(self.package).__path__):
            import_module(f"{self.package}.{module.name}")
        return sorted(self.classes)

    def create(self, name: str, dim: int, **options: Any) -> Any:
        """What is registered under a name, built. BadInput for another name or other options."""
        if name not in (known := self.names()):
            raise BadInput(f"{self.what} {name!r} is not one of {', '.join(known)}.")
        try:
            return self.classes[name](dim, **options)
        except TypeError as error:
            raise BadInput(f"{self.what} {name!r}: {error}") from None

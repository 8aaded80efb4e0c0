"""Public names that load on first use, as SPEC 1 of Scientific Python proposes.

A package's `__init__.pyi` lists them as imports, the form that type checkers and editors read;
its `__init__.py` holds one line: `__getattr__, __dir__, __all__ = attach(__name__, __file__)`.
`lazy_loader` does the same, but can neither rename (`search as search_stac`) nor publish a module
of a sub-package (`from gairlib.data import photos as photos`).
"""

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def attach(
    package: str, file: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package, from the stub beside its `file`."""
    homes = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.parse(Path(file).with_suffix(".pyi").read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    public = list(homes)

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, original = homes[name]
        if module == package:
            return import_module(f"{package}.{original}")
        value = getattr(__import__(module, fromlist=[original]), original)
        setattr(sys.modules[package], name, value)  # the next look does not come here
        return value

    return load, lambda: sorted(public), public

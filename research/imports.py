"""Which files of the project a module depends on, read from the sources without running them.

A study that keeps finished runs, a cache of features and a stage of the pipeline all ask the same
question: which code decides these numbers? The answer is the module with everything that it
imports, directly or through others. Nobody has to keep a list, so nothing can be forgotten.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("gairlib", "research")


def closure(*modules: str) -> list[Path]:
    """Files of the modules ("gairlib.train.loop") and of all that they import inside the project.

    Imports within functions count; those under `if TYPE_CHECKING:` do not. So do modules that a
    text names in full ("research.tasks.tiles", of a table or a command line), and all that
    `import_module(f"gairlib.location.{name}")` may mean. Sorted; ValueError for an unknown module.
    """
    if unknown := [m for m in modules if _file(m) is None]:
        raise ValueError(f"{', '.join(unknown)}: no such module in {', '.join(PACKAGES)}")
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if name in found or path is None:
            continue
        found[name] = path
        waiting += _imports(path)
        waiting += [name.rpartition(".")[0]] if "." in name else []  # packages run their __init__
    return sorted(found.values())


@cache
def code_hash(*modules: str) -> str:
    """Of the `closure` of modules, 16 hex digits: another value where the code is another."""
    return hash_of(closure(*modules))


def hash_of(files: Iterable[Path]) -> str:
    """Of Python files below ROOT without their comments, docstrings and layout, 16 hex digits."""
    trees = []
    for path in files:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            first = body[0] if isinstance(body, list) and body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                first.value.value = ""  # a docstring, or text that does nothing
        trees.append(f"{path.name}: {ast.dump(tree)}")
    return hashlib.sha256("\n".join(trees).encode()).hexdigest()[:16]


def imported(source: str) -> set[str]:
    """Modules of the project that Python source names, whether as modules or for what they hold.

    A public name of a package (`gairlib.GAIR`) means the module that its stub takes it from.
    """
    return {
        module
        for node in _walk(ast.parse(source))
        for name in _names(node)
        for module in _modules(name)
    }


@cache
def _imports(path: Path) -> frozenset[str]:
    return frozenset(imported(path.read_text(encoding="utf-8")))


def _walk(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker reads."""
    yield tree
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        yield from _walk(node)


def _names(node: ast.AST) -> Iterator[str]:
    """Full names that may be modules."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Attribute):
        yield from [ast.unparse(node)] if _root(node) in PACKAGES else []
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        if isinstance(node.args[0], ast.JoinedStr):
            start = node.args[0].values[0]
            yield from _begin_with(start.value) if isinstance(start, ast.Constant) else ()


def _root(node: ast.AST) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _modules(name: str) -> list[str]:
    if _file(name):
        return [name]
    package, _, public = name.rpartition(".")
    face = _file(package)
    if face is None or not face.with_suffix(".pyi").is_file():
        return []
    return [
        module
        for node in ast.parse(face.with_suffix(".pyi").read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if (alias.asname or alias.name) == public
        for module in (node.module, f"{node.module}.{alias.name}")
        if _file(module)
    ]


def _begin_with(start: str) -> Iterator[str]:
    """Modules whose full name is `start` and one word more."""
    folder, _, stem = start.rpartition(".")
    if folder in PACKAGES and not stem:
        return  # the lazy face of a whole package, which imports nothing by itself
    for path in (ROOT / folder.replace(".", "/")).glob(f"{stem}*"):
        yield f"{folder}.{path.stem}".removesuffix(".__init__")


def _file(name: str) -> Path | None:
    """Of a module or a package by its full name; None where it is none of the project's."""
    parts = name.split(".")
    if parts[0] not in PACKAGES or not all(part.isidentifier() for part in parts):
        return None
    for path in (ROOT.joinpath(*parts).with_suffix(".py"), ROOT.joinpath(*parts, "__init__.py")):
        if path.is_file():
            return path
    return None

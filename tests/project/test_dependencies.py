"""Stages depend on all code that decides their results; packages on what they import."""

import ast
import json
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

from research import imports

ROOT = Path(__file__).resolve().parents[2]
PIPELINES = ("dvc.yaml", "ablation/dvc.yaml")
RUNNER = "research.pipeline.notebook"


# ---------------------------------------------------------------------------- of stages


def stages() -> list[tuple[str, dict]]:
    found = []
    for file in PIPELINES:
        found += yaml.safe_load((ROOT / file).read_text())["stages"].items()
    return found


@pytest.mark.parametrize("name, stage", stages(), ids=[name for name, _ in stages()])
def test_a_stage_depends_on_all_code_that_its_notebook_imports_and_on_no_other(name, stage):
    deps = [Path(dep.removeprefix("${root}/")) for dep in stage["deps"]]
    commands = {"sites": "research.sample.__main__", "assets": "research.pipeline.assets"}
    if name in commands:  # a module's command, no notebook's
        modules = [commands[name]]
        assert stage["cmd"].startswith(f"python -m {modules[0].removesuffix('.__main__')} ")
    else:
        notebook = re.search(r"notebooks/\S+\.ipynb", stage["cmd"])[0]
        cells = json.loads((ROOT / notebook).read_text())["cells"]
        code = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
        modules = [*set().union(*map(imports.imported, code)), RUNNER]
        assert Path(notebook) in deps
    files = [p.relative_to(ROOT) for p in imports.closure(*modules) if has_code(p)]
    listed = [path for path in deps if path.parts[0] in imports.PACKAGES]
    missing = [str(f) for f in files if not any(f.is_relative_to(path) for path in listed)]
    assert not missing, f"stage {name}: add to deps {missing}"
    unused = [str(p) for p in listed if not any(f.is_relative_to(p) for f in files)]
    assert not unused, f"stage {name}: remove from deps {unused}"


def test_the_report_depends_on_the_record_and_the_numbers_of_every_stage():
    found = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    report = found.pop("report")
    for name, stage in found.items():
        given = [*stage["outs"], *stage.get("metrics", ())]
        made = [path for entry in given for path in ([entry] if isinstance(entry, str) else entry)]
        for path in (p for p in made if p.endswith(".json")):
            if "${item" not in path:
                assert path in report["deps"], f"{name}: {path}"
            elif not path.startswith("reports/"):  # DVC knows no pattern, but a folder
                assert str(Path(path).parent) in report["deps"], f"{name}: {path}"
            else:  # what such a record says is what the stage's parameters say
                assert set(stage["params"]) <= set(report["params"]), name


def has_code(path: Path) -> bool:
    """False for the `__init__` of a package that only names what is public."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return path.name != "__init__.py" or any(isinstance(n, ast.FunctionDef) for n in nodes)


# ---------------------------------------------------------------------------- of packages

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Declared for a command or for files that they bring, and never imported, or where installed alone
UNIMPORTED = {
    "points": {"lonboard"},
    "docs": {"mkdocs-material", "mkdocstrings"},
    "maps": {"xstatic-leaflet"},
    "dev": {"hatchling", "import-linter", "ruff", "uv"},
    "notebooks": {"ipykernel", "jupyterlab"},
    "test": {"pytest-xdist"},
}
# What may be imported where: the core, and these extras with all that they include
ALLOWED = {
    "gairlib": {"stac", "train"},
    "gairlib/maps.py": {"maps", "points"},
    "gairlib/regress.py": {"regress"},
    "research": {"maps", "pipeline", "sample", "stac"},
    "research/speed": {"bench"},
    "research/reports": {"test"},  # its pictures are taken with playwright
    "tests": {"test", "points"},
}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.lower())


@cache
def declared(extra: str | None = None) -> frozenset[str]:
    """Distributions of the core (None) or of an extra, with the extras that it includes."""
    given = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    names, inner = set(), set()
    for requirement in given:
        name, extras = re.match(r"([\w.-]+)(?:\[(.*?)\])?", requirement).groups()
        if name == "gairlib":
            inner |= set(extras.split(","))
        else:
            names.add(normal(name))
    return frozenset(names.union(*map(declared, inner)))


@cache
def imported(folder: str) -> dict[str, set[str]]:
    """Distributions that the Python files of a folder import -> those files."""
    packages, found = packages_distributions(), {}
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for name in {name.split(".")[0] for name in names} - set(sys.stdlib_module_names):
                local = {"gairlib", "research", "tests", "builders", "conftest"}
                if name in local or name.startswith("test_") or name not in packages:
                    continue
                for distribution in packages[name]:
                    found.setdefault(normal(distribution), set()).add(str(path.relative_to(ROOT)))
    return found


def allowed(path: str) -> frozenset[str]:
    extras = set().union(*(e for folder, e in ALLOWED.items() if Path(path).is_relative_to(folder)))
    return declared().union(*map(declared, extras))


@pytest.mark.parametrize("folder", ["gairlib", "research", "tests"])
def test_what_is_imported_is_declared(folder):
    # several distributions share a top-level name (odc, open_clip): one of them is enough
    shared = {normal(d) for ds in packages_distributions().values() if len(ds) > 1 for d in ds}
    for name, files in imported(folder).items():
        lacking = [path for path in files if name not in allowed(path) and name not in shared]
        assert not lacking, f"{name} is imported by {lacking} and declared by none of their extras"


def test_what_is_declared_is_used():
    used = set().union(*UNIMPORTED.values(), *map(imported, ("gairlib", "research", "tests")))
    extras = PROJECT["optional-dependencies"]
    assert not declared() - set(imported("gairlib"))
    for extra in extras:
        assert not declared(extra) - used, extra
    assert declared("all") == frozenset().union(*map(declared, extras))


def test_the_core_is_small():
    assert len(declared()) <= 20

"""What the packages show: the names of their stubs, all of them there, and nothing else."""

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gairlib

PACKAGES = ["gairlib"] + [
    f"gairlib.{name}"
    for _, name, is_package in pkgutil.iter_modules(gairlib.__path__)
    if is_package and name != "cli"  # a command: nothing of it is imported
]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_shows_its_stub(package):
    module = importlib.import_module(package)
    for _, name, _ in pkgutil.iter_modules(module.__path__):  # a module would hide its namesake
        if name != "__main__":
            importlib.import_module(f"{package}.{name}")
    stub = Path(module.__file__).with_suffix(".pyi").read_text()
    stated = re.search(r"^__all__ = (\[.*?\])", stub, re.DOTALL | re.MULTILINE)[1]
    assert sorted(ast.literal_eval(stated)) == sorted(module.__all__) == dir(module)
    imported = {"__version__": gairlib.__version__}
    exec(stub, imported)  # as a type checker understands it
    for name in module.__all__:
        assert getattr(module, name) is imported[name], name
    with pytest.raises(AttributeError, match=f"{package}.*nothing_here"):
        _ = module.nothing_here


def test_the_import_is_light():
    code = "import sys, gairlib; dir(gairlib); print({'torch', 'numpy'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_names_that_load_on_first_use():
    code = "import gairlib; print(gairlib.location.names()[0], gairlib.stac.search.__name__)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == [
        "direct",
        "search",
    ]

"""Import closures of modules against what Python itself loads, and hashes of code."""

import subprocess
import sys

import pytest

from research import imports
from research.imports import ROOT, closure, code_hash, hash_of


@pytest.mark.parametrize(
    "module", ["gairlib.model", "research.evaluation.features", "research.studies.ablation_run"]
)
def test_what_python_loads_is_in_the_closure(module):
    code = (
        f"import sys, {module}\n"
        "loaded = [m for n, m in sys.modules.items() if n.startswith(('gairlib', 'research'))]\n"
        "print(*[m.__file__ for m in loaded])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    found = {str(path) for path in closure(module)}
    assert f"{ROOT}/{module.replace('.', '/')}.py" in loaded <= found
    assert len(found) == len(closure(module))


def test_names_in_texts_and_functions_count_and_types_do_not(tmp_path, monkeypatch):
    files = {
        "gairlib/__init__.py": "",
        "gairlib/__init__.pyi": "from gairlib.a import A\nfrom gairlib import b as bee\n",
        "gairlib/e.py": "import gairlib\ngairlib.A.x(gairlib.nothing)\n",
        "gairlib/f.py": "from gairlib import bee\n",
        "gairlib/a.py": "import typing\nif typing.TYPE_CHECKING:\n    import gairlib.b\n",
        "gairlib/b.py": "import numpy\ndef f():\n    from gairlib import a, nothing\n",
        "gairlib/c.py": 'TABLE = ("gairlib.b", "gairlib.nowhere", "see gairlib.d")\n',
        "gairlib/d.py": "import importlib\nimportlib.import_module(f'gairlib.one_{1}')\n",
        "gairlib/one_1.py": "import gairlib.d",
        "gairlib/one_2.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(imports, "ROOT", tmp_path)

    def of(*modules):
        return {path.stem for path in closure(*modules)} - {"__init__"}

    assert of("gairlib.a") == {"a"}
    assert of("gairlib.b") == {"a", "b"}
    assert of("gairlib.e") == {"a", "e"} and of("gairlib.f") == {"a", "b", "f"}
    assert of("gairlib.c") == {"a", "b", "c"}
    assert of("gairlib.one_1") == of("gairlib.d") == {"d", "one_1", "one_2"}
    assert of("gairlib.a", "gairlib.d") == {"a", "d", "one_1", "one_2"}
    with pytest.raises(ValueError, match="gairlib.nowhere"):
        closure("gairlib.nowhere")


def test_another_import_is_another_hash():
    assert code_hash("gairlib.geo") == code_hash("gairlib.geo") != code_hash("gairlib.model")


def test_comments_are_no_other_code(tmp_path):
    def of(text):
        file = tmp_path / "a.py"
        file.write_text(text)
        return hash_of([file])

    first = of('"""Says."""\n\ndef f(x):\n    """Doc."""\n    return x + 1\n')
    assert of('"""Else."""\ndef f(x):\n    """Doc 2."""\n    return x + 1  # why\n') == first
    assert of('"""Says."""\n\ndef f(x):\n    """Doc."""\n    return x + 2\n') != first
